from __future__ import annotations

import os
import threading
from pathlib import Path

import numpy as np
import pytest
import torch

from prost.errors import VideoError
from prost.model.matching import VideoPrototypes
from prost.search.encode import DecodedClips, DecodingAhead, Finished, Refused, SeenFile, encode, look_at
from prost.search.quantise import dequantise
from prost.search.records import ClipSettings
from prost.video.isolation import IsolatedDecoder
from prost.video.reasons import Reason


def ahead(files: list[SeenFile], model, known=lambda content: False) -> DecodingAhead:  # type: ignore[no-untyped-def]
    return DecodingAhead(files, known, model.config, ClipSettings(longest=2, overlap=0.5), IsolatedDecoder)


def test_the_steps_of_a_file(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 10), ("blue", 10))
    with ahead([look_at(str(film))], model) as steps:
        *batches, last = list(steps)

    assert isinstance(last, Finished) and last.clips == 19 and last.detail == ""
    assert all(isinstance(batch, DecodedClips) for batch in batches)
    assert [batch.first for batch in batches] == [0, 16]  # 96 frames at once are 16 clips of 6
    windows = [window for batch in batches for window in batch.windows]
    assert windows == [(float(start), float(start + 2)) for start in range(19)]
    for batch in batches:
        assert batch.frames.pixels.shape == (6 * len(batch.windows), 16, 16, 3)
        for (start, end), times in zip(batch.windows, batch.frames.times.reshape(-1, 6), strict=True):
            assert (start <= times).all() and (times < end).all()


def test_clips_become_the_prototypes_of_their_own_frames(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 2), ("blue", 2))
    with ahead([look_at(str(film))], model) as steps:
        clips = next(iter(steps))
        assert isinstance(clips, DecodedClips)

    rows = encode(model, clips)

    assert (rows.start.tolist(), rows.end.tolist()) == ([0, 1, 2], [2, 3, 4])
    pixels = torch.from_numpy(clips.frames.pixels).movedim(-1, 1).float() / 255
    expected = model.video_prototypes(pixels.view(3, 6, 3, 16, 16))
    assert rows.event.tolist() == expected.event.tolist()
    assert np.abs(dequantise(rows.object_codes, rows.object_scales) - expected.object.numpy()).max() < 1 / 250
    colours = rows.event.argmax(axis=-1)  # of the first and the second half of each clip
    assert colours.tolist() == [[0, 0], [0, 2], [2, 2]]


def test_without_attention_every_frame_counts_alike(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    with ahead([look_at(str(film))], model) as steps:
        clips = next(iter(steps))
        assert isinstance(clips, DecodedClips)
    prototypes = model.video_prototypes(torch.zeros(1, 6, 3, 16, 16))
    model.video_prototypes = lambda pixels: VideoPrototypes(prototypes.object, prototypes.event)

    assert encode(model, clips).event_attention == pytest.approx(np.full((1, 2, 6), 1 / 6))


def test_those_who_stop_listening_leave_no_thread_behind(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 120), fps=2)
    with ahead([look_at(str(film))] * 3, model) as steps:
        next(iter(steps))
    assert "prost-decoding" not in [thread.name for thread in threading.enumerate()]


def test_what_goes_wrong_in_the_thread_is_raised_where_it_is_heard(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))

    def known(content: str) -> bool:
        raise RuntimeError("lost")

    with ahead([look_at(str(film))], model, known) as steps, pytest.raises(RuntimeError, match="lost"):
        list(steps)


def test_a_file_that_goes_before_it_is_read(tmp_path: Path, model, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    seen = look_at(str(film))
    film.unlink()
    with ahead([seen], model) as steps:
        assert list(steps) == [Refused(seen, None, Reason.GONE, os.strerror(2))]
    with pytest.raises(VideoError, match="gone"):
        look_at(str(film))
