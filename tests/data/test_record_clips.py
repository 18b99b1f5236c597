"""Video files as a clip set: plan and batches agree, rows are dealt, a file that fails is named."""

from pathlib import Path

import numpy as np
import pytest

from prost.data.record_clips import RecordClips
from prost.data.records import VideoRecord
from prost.errors import UsageError, VideoError


@pytest.fixture(scope="module")
def records(toybox_folder: Path) -> list[VideoRecord]:
    paths = sorted(toybox_folder.glob("*.mp4"))[:4]
    return [VideoRecord(path.stem, path, (f"{path.stem} one", f"{path.stem} two")) for path in paths]


def test_batches_are_what_the_plan_says(records: list[VideoRecord]) -> None:
    clips = RecordClips(records)
    places, captions = clips.plan(2, seed=4).of(3)
    (batch,) = clips.batches(range(3, 4), 2, 4, 0, 1, 2, 32)
    assert batch.captions == captions
    assert list(batch.videos) == [clips.names[place] for place in places]
    everything = next(clips.in_order(2, 32))
    assert everything.shape == (4, 2, 32, 32, 3)
    assert np.array_equal(batch.pixels, everything[places])
    (second,) = clips.batches(range(3, 4), 2, 4, 1, 2, 2, 32)
    assert second.videos == batch.videos[1:]


def test_other_files_are_another_set(records: list[VideoRecord]) -> None:
    assert RecordClips(records).description == RecordClips(records).description
    others = [
        RecordClips(records[1:]),
        RecordClips(records, sampling="authors"),
        RecordClips([VideoRecord(r.video, r.path, r.captions, 0.5, 1.0) for r in records]),
    ]
    assert len({clips.description for clips in (RecordClips(records), *others)}) == 4


def test_a_file_that_cannot_be_shown_is_named(records: list[VideoRecord], tmp_path: Path) -> None:
    broken = tmp_path / "broken.mp4"
    broken.write_text("no video")
    with pytest.raises(VideoError, match=r"broken\.mp4"):
        list(RecordClips([*records, VideoRecord("b", broken, ("x",))]).in_order(2, 32))


def test_a_batch_larger_than_the_set(records: list[VideoRecord]) -> None:
    with pytest.raises(UsageError, match="batches of 5 from 4 videos"):
        RecordClips(records).plan(5, 0)
