from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prost.model.encoding import VideoEncoder
from prost.model.matching import VideoPrototypes
from prost.search.encode import EncodedClip, WindowEncoding
from prost.search.quantise import dequantise
from prost.search.reading import requests
from prost.search.records import ClipSettings
from prost.video.files import look_at
from prost.video.reader import ReadEnd, ReadWindow, VideoReader

SETTINGS = ClipSettings(longest=2, overlap=0.5)


def encoded(model: Any, events: Any) -> list[Any]:
    taken: list[Any] = []
    WindowEncoding(VideoEncoder(model), taken.append).run(events)
    return taken


def read(model: Any, *paths: Path) -> list[Any]:
    files = [look_at(str(path)) for path in paths]
    with VideoReader(size=model.config.image_size, workers=1) as reader:
        return list(reader.read(requests(files, lambda content: False, SETTINGS, model.config.frames)))


def test_clips_become_the_prototypes_of_their_own_frames(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 2), ("blue", 2))
    events = read(model, film)
    *clips, end = encoded(model, events)
    assert isinstance(end, ReadEnd) and end.windows == 3
    windows = [event for event in events if isinstance(event, ReadWindow)]
    assert [clip.window for clip in clips] == windows

    rows = [clip.rows("c", place, place, place + 2.0) for place, clip in enumerate(clips)]
    assert [(row.first, row.start.tolist(), row.end.tolist()) for row in rows] == [
        (0, [0], [2]),
        (1, [1], [3]),
        (2, [2], [4]),
    ]
    for row, window in zip(rows, windows, strict=True):
        pixels = torch.from_numpy(window.frames.pixels)
        states = model.below_shift(model.normalise_pixels(pixels))
        expected = model.video_head(states.unsqueeze(0))
        assert row.event.tolist() == expected.event.tolist()
        stored = dequantise(row.object_codes, row.object_scales)
        assert np.abs(stored - expected.object.numpy()).max() < 1 / 250
        assert row.frame_times.tolist() == [window.frames.times.tolist()]
    colours = [row.event[0].argmax(axis=-1).tolist() for row in rows]  # of the first and the second half
    assert colours == [[0, 0], [0, 2], [2, 2]]


def test_everything_comes_in_the_order_of_reading(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    short = [paint(tmp_path / f"{place}.mp4", ("red", 1 + place / 10)) for place in range(5)]
    long = paint(tmp_path / "long.mp4", ("green", 20), fps=2)
    events: list[Any] = ["first", *read(model, *short[:3]), "between", *read(model, long, *short[3:]), "last"]
    taken = encoded(model, events)
    assert [event.window if isinstance(event, EncodedClip) else event for event in taken] == events


def test_what_waits_for_no_clip_is_handed_on_at_once(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    taken: list[Any] = []

    def events():  # type: ignore[no-untyped-def]
        for number in range(3):
            assert taken == list(range(number))
            yield number

    WindowEncoding(VideoEncoder(model), taken.append).run(events())
    assert taken == [0, 1, 2]


def test_without_attention_every_frame_counts_alike(tmp_path: Path, model, paint, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    video_head = model.video_head

    def bare(tokens):  # type: ignore[no-untyped-def]
        prototypes = video_head(tokens)
        return VideoPrototypes(prototypes.object, prototypes.event)

    monkeypatch.setattr(model, "video_head", bare)
    clip = encoded(model, read(model, film))[0]
    assert clip.event_attention == pytest.approx(np.full((2, 6), 1 / 6))
    assert clip.finite
