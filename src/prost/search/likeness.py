"""Search by example: the prototypes of a clip or of a picture become the query.

A query of words has phrase prototypes and a sentence prototype. Those of an example are made from its own objects and
events, which lie in the same space: the sentence prototype is the mean of the event prototypes, the phrase prototypes
are some of the object prototypes of the frames. Scan, rerank and moments then work as for a sentence.
"""

from __future__ import annotations

import io
import os
import struct
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image, ImageOps, UnidentifiedImageError

from prost.config import ModelConfig
from prost.errors import MissingPath, UsageError
from prost.model.encoding import VideoEncoder
from prost.model.matching import TextPrototypes
from prost.model.vectors import unit
from prost.search.encode import PrototypeModel
from prost.search.records import ClipSettings
from prost.video.fit import PADDING, Fit
from prost.video.isolation import IsolatedDecoder
from prost.video.remote import address_of, at_hand
from prost.video.sampling import sample_times, stretch_within

PICTURES = (".jpg", ".jpeg", ".png", ".webp", ".gif", ".bmp", ".tif", ".tiff")
PICTURE_FORMATS = ("JPEG", "PNG", "WEBP", "GIF", "BMP", "TIFF")
# A compressed picture can be small and still fill the memory when it is decoded.
MOST_PIXELS = 100_000_000
# What Pillow raises, besides OSError and ValueError, for EXIF data whose values are not of the type of their tags.
BROKEN_EXIF = (struct.error, TypeError, KeyError, AttributeError, EOFError, OverflowError)


def query_like(
    object: NDArray[np.float32], event: NDArray[np.float32], phrase_prototypes: int
) -> TextPrototypes:
    """Make a query from the prototypes of clips.

    Args:
        object: object prototypes of one or more clips `[n, L, N_o, D]`, of any length.
        event: their event prototypes `[n, N_e, D]`, of any length.
        phrase_prototypes: number of them, at most.

    Returns:
        prototypes of one "sentence": phrase `[1, N_p, D]`, sentence `[1, D]`.
    """
    width = object.shape[-1]
    objects = unit(torch.from_numpy(np.ascontiguousarray(object, dtype=np.float32)).reshape(-1, width))
    events = unit(torch.from_numpy(np.ascontiguousarray(event, dtype=np.float32)).reshape(-1, width))
    alive = objects[objects.abs().sum(dim=1) > 0]
    phrase = torch.zeros(phrase_prototypes, width)
    chosen = most_different(alive, phrase_prototypes)
    phrase[: len(chosen)] = chosen
    return TextPrototypes(phrase[None], events.mean(dim=0, keepdim=True))


def most_different(vectors: torch.Tensor, count: int) -> torch.Tensor:
    """At most `count` of some unit vectors `[n, D]` that differ most from each other.

    The first is the one nearest to the mean; each further one is that whose nearest chosen vector is farthest
    (Gonzalez 1985). Equal vectors are chosen once.
    """
    if not len(vectors):
        return vectors
    places = [int((vectors @ vectors.mean(dim=0)).argmax())]
    nearest = vectors @ vectors[places[0]]
    while len(places) < min(count, len(vectors)):
        farthest = int(nearest.argmin())
        if nearest[farthest] > 1 - 1e-6:
            break
        places.append(farthest)
        nearest = torch.maximum(nearest, vectors @ vectors[farthest])
    return vectors[places]


def is_picture(path: str | os.PathLike[str]) -> bool:
    """Whether a file is a picture by its name."""
    return Path(path).suffix.lower() in PICTURES


def encode_picture(
    model: PrototypeModel, picture: str | os.PathLike[str] | bytes, *, fit: Fit = "crop"
) -> TextPrototypes:
    """The query that a picture makes: it is encoded as a clip in which nothing moves.

    Args:
        model: of the library.
        picture: a file, or the bytes of one.
        fit: how it becomes square: as the library's pictures, but with `tiles` only its middle is looked for.

    Raises:
        UsageError: it is no picture, or one of too many pixels.
        MissingPath: there is no such file.
    """
    name = "the picture" if isinstance(picture, bytes) else address_of(picture) or os.fspath(picture)
    try:
        with (
            nullcontext(io.BytesIO(picture)) if isinstance(picture, bytes) else at_hand(name) as source,
            Image.open(source, formats=PICTURE_FORMATS) as opened,
        ):
            if opened.width * opened.height > MOST_PIXELS:
                raise UsageError(
                    f"{name} has {opened.width} x {opened.height} pixels", f"{MOST_PIXELS:,} pixels at most"
                )
            pixels = _square(opened, model.config.image_size, fit)
    except FileNotFoundError:
        raise MissingPath(f"{name} does not exist", "a picture or a video") from None
    except (UnidentifiedImageError, Image.DecompressionBombError, OSError, ValueError, SyntaxError) as error:
        detail = str(error).split(" <")[0]
        raise UsageError(
            f"{name} is no picture that can be read ({detail})", "JPEG, PNG, WebP, GIF"
        ) from None
    return encode_frames(model, np.broadcast_to(pixels, (model.config.frames, *pixels.shape)))


def encode_file(
    model: PrototypeModel,
    path: str | os.PathLike[str],
    start: float,
    end: float | None,
    clips: ClipSettings,
) -> TextPrototypes:
    """The query that a stretch of a video file makes; the file need not be in a library.

    Args:
        model: of the library.
        path: a video.
        start: seconds.
        end: seconds; None for the length of a clip after the start. What is beyond the end of the file is cut off.
        clips: of the library; with the fit `tiles` only the middle of the pictures is looked for.

    Raises:
        UsageError: the stretch lies beyond the end of the file.
        VideoError: it cannot be decoded.
    """
    with IsolatedDecoder() as decoder:
        part = start + clips.longest if end is None else end
        start, end = stretch_within(decoder.probe(path).duration, start, part)
        times = sample_times(start, max(end, start + 0.1), model.config.frames)
        frames = decoder.decode(path, times, model.config.image_size, fit=clips.fit)
    return encode_frames(model, frames.pixels)


def encode_frames(model: PrototypeModel, frames: NDArray[np.uint8]) -> TextPrototypes:
    """The query that the frames of a clip make, uint8 `[L, R, R, 3]`."""
    video = VideoEncoder(model).encode(np.ascontiguousarray(frames)[None])
    return query_like(video.object.numpy(), video.event.numpy(), phrases_of(model))


def phrases_of(model: PrototypeModel) -> int:
    """Number of phrase prototypes of a query: the model's N_p; for a dual encoder one for each frame of a clip."""
    config = model.config
    return config.phrase_prototypes if isinstance(config, ModelConfig) else config.frames


def _square(picture: Image.Image, side: int, fit: Fit) -> NDArray[np.uint8]:
    """A picture, upright, as a square: uint8 `[R, R, 3]`.

    Raises:
        ValueError: its EXIF data is broken.
    """
    try:
        upright = ImageOps.exif_transpose(picture).convert("RGB")
    except BROKEN_EXIF as error:
        raise ValueError(f"its EXIF data is broken: {error}") from None
    sides, bicubic = (side, side), Image.Resampling.BICUBIC
    if fit == "stretch":
        square = upright.resize(sides, bicubic)
    elif fit == "pad":
        square = ImageOps.pad(upright, sides, bicubic, color=(PADDING, PADDING, PADDING))
    else:
        square = ImageOps.fit(upright, sides, bicubic)
    return np.asarray(square, dtype=np.uint8)
