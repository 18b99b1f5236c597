"""From a hit to the evidence for it: its clip is decoded and encoded again, since a library stores no evidence."""

from __future__ import annotations

import os
import threading
from collections import OrderedDict
from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from prost.errors import MissingPath, UsageError, VideoError
from prost.model.encoding import VideoEncoder, encode_text
from prost.model.evidence import Evidence, explain_clip
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.retrieval_model import RetrievalModel
from prost.search.hits import Hit
from prost.search.missing_files import exists
from prost.search.present import expect_present
from prost.search.reading import places_of, windows_of
from prost.search.records import ClipSettings, VideoRow
from prost.video.fit import Fit
from prost.video.isolation import IsolatedDecoder
from prost.video.probe import VideoInfo
from prost.video.reader import ReadRequest, ReadWindow, VideoReader
from prost.video.remote import address_of
from prost.video.sampling import sample_times

# Evidence that is kept for hits that are asked for again, as a page does; each takes about a megabyte.
KEPT = 32


class Explainer:
    """Explains hits of one model. What it has explained last is kept. Threads may share it.

    Args:
        model: the one that found the hits.
        fit: how the library made pictures square.
    """

    def __init__(self, model: RetrievalModel[TextPrototypes, VideoPrototypes], *, fit: Fit = "crop") -> None:
        self._model, self._fit = model, fit
        self._lock = threading.Lock()
        self._kept: OrderedDict[tuple[str, str], Evidence] = OrderedDict()

    def explain(self, query: str, hit: Hit, files: Sequence[VideoRow], moment: int = 0) -> Evidence:
        """Evidence for a moment of a hit.

        Args:
            query: the sentence that found it.
            hit: what it found.
            files: the rows of its video and of copies of it.
            moment: which of its moments.

        Raises:
            UsageError: the hit has no such moment.
            MissingPath: neither the file nor a copy of it is there.
            LibraryError: the file has changed since it was indexed.
            VideoError: it cannot be decoded.
        """
        if not 0 <= moment < len(hit.moments):
            raise UsageError(f"moment {moment} of a hit that has {len(hit.moments)}", "0 for the best one")
        clip, path = hit.moments[moment], expect_present(files).path
        with self._lock:
            if (query, clip.clip) in self._kept:
                self._kept.move_to_end((query, clip.clip))
                return self._kept[query, clip.clip]
        times = sample_times(clip.clip_start, clip.clip_end, self._model.config.frames)
        size, seen = self._model.config.image_size, []
        with IsolatedDecoder() as decoder:
            for place in places_of(hit.video, self._fit):
                frames = decoder.decode(path, times, size, fit=self._fit, place=place)
                seen.append(
                    explain_clip(self._model, query, frames.pixels, frames.times, fit=self._fit, place=place)
                )
        # Each tile is a clip of its own, and a clip does not say which: its scores tell it.
        evidence = min(
            seen,
            key=lambda tile: (
                abs(tile.event_sentence - clip.event_sentence) + abs(tile.object_phrase - clip.object_phrase)
            ),
        )
        with self._lock:
            self._kept[query, clip.clip] = evidence
            while len(self._kept) > KEPT:
                self._kept.popitem(last=False)
        return evidence


def pictures_of(evidence: Evidence, path: str | os.PathLike[str], size: int) -> NDArray[np.uint8]:
    """The frames of evidence `[L, size, size, 3]`, cut as the model saw them, so that the maps lie where they belong.

    Args:
        evidence: of the file.
        path: the file.
        size: pixels of a side.

    Raises:
        VideoError: it cannot be decoded.
    """
    with IsolatedDecoder() as decoder:
        return decoder.decode(path, evidence.times, size, fit=evidence.fit, place=evidence.place).pixels


def explain_file(
    model: RetrievalModel[TextPrototypes, VideoPrototypes],
    query: str,
    path: str | os.PathLike[str],
    clips: ClipSettings | None = None,
) -> Evidence:
    """Evidence for the clip of a file that fits a sentence best; the file need not be in a library.

    Args:
        model: one that makes prototypes.
        query: a sentence.
        path: a video.
        clips: how it is cut; None cuts it as a new library would.

    Raises:
        EmptyQuery: a sentence without a word.
        MissingPath: the file does not exist.
        VideoError: it cannot be shown.
    """
    settings = clips or ClipSettings.default(model.config)
    text = encode_text(model, [query])
    path = address_of(path) or os.fspath(path)
    if not exists(path):
        raise MissingPath(f"{path} does not exist", "a video file")

    def windows(info: VideoInfo) -> list[NDArray[np.float64]]:
        return [sample_times(*window, model.config.frames) for window in windows_of(info, settings)]

    encoder = VideoEncoder(model)
    best: tuple[float, ReadWindow] | None = None
    failure: VideoError | None = None
    with VideoReader(size=model.config.image_size, fit=settings.fit, workers=1) as reader:
        for event in reader.read([ReadRequest(path=path, windows=windows)]):
            if not isinstance(event, ReadWindow):
                failure = event.failure or failure
                continue
            score = model.match(text, encoder.encode(event.frames.pixels[None])).total.item()
            if best is None or score > best[0]:
                best = (score, event)
    if best is None:
        assert failure is not None  # a file without any window ends with the reason
        raise failure
    frames, place = best[1].frames, best[1].place
    return explain_clip(model, query, frames.pixels, frames.times, fit=settings.fit, place=place)
