"""Real videos of plain colours, and a model small enough to follow by hand that knows colours.

The model is no mock: it takes pixels and words and makes prototypes by the contract, so that the library is
tested with real files, a real decoder and real tables.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, ClassVar

import av
import numpy as np
import pytest
import torch
from torch import Tensor

import prost.search.library as library_module
from prost.config import ModelConfig
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.search.codes import CodedClips
from prost.search.library import Library
from prost.search.quantise import quantise
from prost.search.records import ClipRows, VideoRow
from prost.search.store import Store
from prost.video.reader import ReadEnd, ReadWindow, VideoReader

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

    def former_fingerprints(self, name: str) -> frozenset[str]:
        return frozenset()

    def count_words(self, sentence: str) -> int:
        return len(sentence.split()) + 2

    def unknown_words(self, sentence: str) -> list[str]:
        return [word for word in sentence.split() if word.startswith("frisbee")]

    def encode_text(self, sentences: Sequence[str]) -> TextPrototypes:
        phrases = torch.zeros(len(sentences), self.config.phrase_prototypes, self.config.width)
        for phrase, sentence in zip(phrases, sentences, strict=True):
            words = [word for word in sentence.split()[: self.config.max_words - 2] if word in COLOURS]
            for place, word in enumerate(words[: len(phrase)]):
                phrase[place, list(COLOURS).index(word)] = 1
        return TextPrototypes(phrases, phrases.sum(dim=1))

    def normalise_pixels(self, frames: Tensor) -> Tensor:
        return frames.movedim(-1, -3).float() / 255

    def below_shift(self, frames: Tensor) -> Tensor:
        whole = likeness(frames.mean(dim=(-1, -2)))  # [N, 8]
        upper = likeness(frames[..., :8, :].mean(dim=(-1, -2)))
        return torch.stack([whole, upper], dim=1)

    def from_shift(self, states: Tensor) -> Tensor:
        return states  # [B, L, 2, 8]

    def video_head(self, tokens: Tensor) -> VideoPrototypes:
        whole = tokens[:, :, 0]
        objects = torch.cat([tokens, torch.zeros_like(tokens[:, :, :1])], dim=2)
        if self.sick:
            magenta = whole.argmax(dim=-1) == list(COLOURS).index(NOT_A_NUMBER)
            objects[magenta] = float("nan")
        half = self.config.frames // 2
        events = torch.stack([whole[:, :half].mean(dim=1), whole[:, half:].mean(dim=1)], dim=1)
        attention = torch.zeros(len(tokens), 2, self.config.frames)
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


class WatchedReader(VideoReader):
    """The real reader; tests see what it reads, and may change it.

    Attributes:
        opened: names of the files that were opened, in order.
        decoded: names of the files of which a clip was read, each once.
        change: called with each event before the library gets it; returns what the library gets instead.
    """

    opened: ClassVar[list[str]] = []
    decoded: ClassVar[list[str]] = []
    change: ClassVar[Callable[[Any], Any]] = staticmethod(lambda event: event)

    def read(self, requests):  # type: ignore[no-untyped-def]
        for event in super().read(requests):
            if isinstance(event, ReadWindow | ReadEnd):
                name = Path(event.request.path).name
                for names, wanted in ((self.opened, ReadEnd), (self.decoded, ReadWindow)):
                    if isinstance(event, wanted) and name not in names:
                        names.append(name)
            yield WatchedReader.change(event)


@pytest.fixture(autouse=True)
def watched(monkeypatch: pytest.MonkeyPatch) -> type[WatchedReader]:
    """The reader of every library of a test."""
    monkeypatch.setattr(WatchedReader, "opened", [])
    monkeypatch.setattr(WatchedReader, "decoded", [])
    monkeypatch.setattr(WatchedReader, "change", staticmethod(lambda event: event))
    monkeypatch.setattr(library_module, "VideoReader", WatchedReader)
    return WatchedReader


@pytest.fixture(scope="session")
def server() -> Iterator[Any]:
    """An S3 server with one bucket."""
    from tests.search.bucket_server import bucket_server

    with bucket_server() as running:
        yield running


@pytest.fixture
def environment(server: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Any:
    """That server, which every tool finds by the environment."""
    for name in [name for name in os.environ if name.startswith("AWS_")]:
        monkeypatch.delenv(name)
    for name, value in server.environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "prost"))
    return server


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
def decoded(watched: type[WatchedReader]) -> list[str]:
    """Names of the files that were decoded, in order."""
    return watched.decoded


@pytest.fixture
def library(tmp_path: Path, model: ColourModel) -> Library:
    return Library(tmp_path / "library.prost", model)


def clip_rows(content: str, count: int, random: np.random.Generator, world: int = 0) -> ClipRows:
    """Clips with prototypes about a few directions, frames that repeat, and dead slots."""
    frames, slots, events, width = 6, 3, 2, len(COLOURS)
    directions = np.random.default_rng(world).normal(size=(60, width))
    object = directions[random.integers(0, 60, (count, frames, slots))]
    object = (object + 0.15 * random.normal(size=object.shape)).astype(np.float32)
    object[:, 1] = object[:, 0]
    object[:, :, 2] = 0
    codes, scales = quantise(object)
    event = directions[random.integers(0, 60, (count, events))] + 0.15 * random.normal(
        size=(count, events, width)
    )
    start = np.arange(count) * 9.0
    return ClipRows(
        content=content,
        first=0,
        start=start,
        end=start + 12,
        frame_times=start[:, None] + np.arange(frames) * 2.0 + 1,
        object_codes=codes,
        object_scales=scales,
        event=event.astype(np.float32),
        event_attention=np.full((count, events, frames), 1 / frames, dtype=np.float32),
    )


@pytest.fixture(scope="session")
def unpack_codes() -> Callable[[CodedClips, int], np.ndarray]:
    """Gives the codes of one clip, with the repeated ones that fill its words `[N_o, 4 * words a slot]`."""

    def unpack(clips: CodedClips, clip: int) -> np.ndarray:
        words = np.array(clips.words[clips.starts[clip] : clips.starts[clip + 1]])
        return words.reshape(clips.slots, -1).view(np.uint16)

    return unpack


def fill(store: Store, first: int, videos: int, clips: int = 2, world: int = 0) -> None:
    """Commit videos with clips of random prototypes, as an `add` would; a world has directions of its own."""
    random = np.random.default_rng(first + 1)
    names = [f"content{number:05}" for number in range(first, first + videos)]
    store.append_clips([clip_rows(name, clips, random, world) for name in names])
    store.put_videos(
        [
            VideoRow(
                path=f"/videos/{name}.mp4",
                size=1,
                modified=1,
                added="2026-01-01T00:00:00Z",
                status="indexed",
                content=name,
                duration=float(number),
                clips=clips,
            )
            for number, name in enumerate(names, first)
        ]
    )


@pytest.fixture
def filled(tmp_path: Path, model: ColourModel) -> Library:
    """A library of 120 videos with two clips each, in three fragments, without codes."""
    library = Library(tmp_path / "filled.prost", model)
    for first in range(0, 120, 40):
        fill(Store.open(library.path), first, 40)
    return library


@pytest.fixture
def fill_store() -> Callable[..., None]:
    return fill
