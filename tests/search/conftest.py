"""Real videos of plain colours, and a model small enough to follow by hand that knows colours.

The model is no mock: it takes pixels and words and makes prototypes by the contract, so that the library is
tested with real files, a real decoder and real tables.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from torch import Tensor

from prost.config import ModelConfig
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.search.library import Library
from prost.video.isolation import IsolatedDecoder

COLOURS = {
    "red": (230, 20, 20),
    "green": (20, 200, 20),
    "blue": (20, 20, 230),
    "yellow": (230, 230, 20),
    "white": (240, 240, 240),
    "black": (10, 10, 10),
    "cyan": (20, 220, 220),
    "magenta": (220, 20, 220),
}
PALETTE = torch.tensor(list(COLOURS.values())) / 255  # [8, 3]
NOT_A_NUMBER = "magenta"

CONFIG = ModelConfig.parse(
    {
        "name": "colours",
        "clip": {
            "image_size": 16,
            "patch_size": 16,
            "vision_width": 64,
            "vision_layers": 1,
            "text_width": 64,
        },
        "width": len(COLOURS),
        "frames": 6,
        "max_words": 6,
        "object_prototypes": 3,
        "phrase_prototypes": 4,
        "event_prototypes": 2,
        "token_shift_blocks": [],
    }
)


class ColourModel:
    """Frames become likenesses to eight named colours.

    Object slots: 0 the whole frame, 1 its upper half, 2 dead (zero). Events: the mean of the first and of
    the second half of the frames. Phrases: one per colour word, the rest zero. Sentence: their sum.

    Args:
        sick: give NaN for a clip that holds a magenta frame.
    """

    def __init__(self, fingerprint: str = "c0104125", sick: bool = False) -> None:
        self.config = CONFIG
        self.fingerprint = fingerprint
        self.device = torch.device("cpu")
        self.sick = sick

    def count_words(self, sentence: str) -> int:
        return len(sentence.split()) + 2

    def unknown_words(self, sentence: str) -> list[str]:
        return [word for word in sentence.split() if word == "frisbee"]

    def encode_text(self, sentences: Sequence[str]) -> TextPrototypes:
        phrases = torch.zeros(len(sentences), self.config.phrase_prototypes, self.config.width)
        for phrase, sentence in zip(phrases, sentences, strict=True):
            words = [word for word in sentence.split()[: self.config.max_words - 2] if word in COLOURS]
            for place, word in enumerate(words[: len(phrase)]):
                phrase[place, list(COLOURS).index(word)] = 1
        return TextPrototypes(phrases, phrases.sum(dim=1))

    def normalise_pixels(self, frames: np.ndarray) -> Tensor:
        return torch.from_numpy(frames).movedim(-1, -3).float() / 255

    def video_prototypes(self, pixels: Tensor) -> VideoPrototypes:
        whole = likeness(pixels.mean(dim=(-1, -2)))  # [B, L, 8]
        upper = likeness(pixels[..., :8, :].mean(dim=(-1, -2)))
        objects = torch.stack([whole, upper, torch.zeros_like(whole)], dim=2)
        if self.sick:
            magenta = whole.argmax(dim=-1) == list(COLOURS).index(NOT_A_NUMBER)
            objects[magenta] = float("nan")
        half = self.config.frames // 2
        events = torch.stack([whole[:, :half].mean(dim=1), whole[:, half:].mean(dim=1)], dim=1)
        attention = torch.zeros(len(pixels), 2, self.config.frames)
        attention[:, 0, :half] = attention[:, 1, half:] = 1 / half
        return VideoPrototypes(objects, events, attention)


def likeness(colour: Tensor) -> Tensor:
    """Likeness of colours `[..., 3]` to the palette `[..., 8]`: 1 for the same, near 0 for others."""
    square = (colour.unsqueeze(-2) - PALETTE).square().sum(dim=-1)
    return torch.exp(-8 * square)


def paint_video(path: Path, *parts: tuple[str, float], fps: int = 10) -> Path:
    """Write an H.264 MP4 that shows one plain colour after another, each for some seconds."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=fps)
        stream.width, stream.height, stream.pix_fmt = 32, 32, "yuv420p"
        stream.codec_context.gop_size = 2 * fps
        for colour, seconds in parts:
            picture = np.full((32, 32, 3), COLOURS[colour], dtype=np.uint8)
            for _ in range(round(seconds * fps)):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode(None))
    return path


class CountingDecoder(IsolatedDecoder):
    """The real decoder, which writes down what it decoded."""

    def __init__(self, decoded: list[str]) -> None:
        super().__init__()
        self.decoded = decoded

    def decode(self, path, times, size):  # type: ignore[no-untyped-def]
        self.decoded.append(Path(path).name)
        return super().decode(path, times, size)


@pytest.fixture
def model() -> ColourModel:
    return ColourModel()


@pytest.fixture
def make_model() -> type[ColourModel]:
    return ColourModel


@pytest.fixture
def paint() -> Callable[..., Path]:
    return paint_video


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with a red, a green and a blue video, one of them in a folder of its own."""
    videos = tmp_path / "videos"
    paint_video(videos / "red.mp4", ("red", 2))
    paint_video(videos / "green.mp4", ("green", 3))
    paint_video(videos / "sea" / "blue.mp4", ("blue", 4))
    return videos


@pytest.fixture
def decoded() -> list[str]:
    """Names of the files that `library` decoded a clip of, in order."""
    return []


@pytest.fixture
def library(tmp_path: Path, model: ColourModel, decoded: list[str]) -> Library:
    return Library(tmp_path / "library.prost", model, decoder=lambda: CountingDecoder(decoded))
