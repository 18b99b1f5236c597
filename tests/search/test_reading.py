from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from prost.errors import VideoError
from prost.search.reading import KnownContent, Refused, expect_unchanged, refusal, requests
from prost.search.records import ClipSettings
from prost.video.files import content_hash, look_at
from prost.video.probe import probe
from prost.video.reader import ReadRequest
from prost.video.reasons import Reason

SETTINGS = ClipSettings(longest=2, overlap=0.5)


def test_the_windows_of_a_file(tmp_path: Path, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 4))
    (request,) = requests([look_at(str(film))], lambda content: False, SETTINGS, 4)
    assert isinstance(request, ReadRequest)
    assert [times.tolist() for times in request.windows(probe(film))] == [
        [0.25, 0.75, 1.25, 1.75],
        [1.25, 1.75, 2.25, 2.75],
        [2.25, 2.75, 3.25, 3.75],
    ]
    assert request.key.content == content_hash(film)


def test_a_content_is_read_once(tmp_path: Path, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    copy, other = tmp_path / "copy.mp4", paint(tmp_path / "other.mp4", ("blue", 1))
    shutil.copy(film, copy)
    files = [look_at(str(path)) for path in (film, copy, other)]
    given = list(requests(files, lambda content: content == content_hash(other), SETTINGS, 4))
    assert [type(each) for each in given] == [ReadRequest, KnownContent, KnownContent]


def test_a_file_that_goes_before_it_is_read(tmp_path: Path, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    seen = look_at(str(film))
    film.unlink()
    assert list(requests([seen], lambda content: False, SETTINGS, 4)) == [
        Refused(file=seen, content=None, reason=Reason.GONE, detail=os.strerror(2))
    ]
    with pytest.raises(VideoError, match="gone"):
        look_at(str(film))


@pytest.mark.parametrize(
    ("reason", "kept"),
    [(Reason.NOTHING_DECODED, "content"), (Reason.NOT_READ, None), (Reason.OUR_ERROR, None)],
)
def test_what_is_not_the_files_fault_is_tried_again(tmp_path: Path, reason: Reason, kept: str | None) -> None:
    """A failure that is kept without the content is tried again by the next run."""
    (tmp_path / "a.mp4").write_text("any")
    seen = look_at(str(tmp_path / "a.mp4"))
    assert refusal(seen, "content", VideoError(seen.path, reason)).content == kept


def test_a_file_that_changes(tmp_path: Path, paint) -> None:  # type: ignore[no-untyped-def]
    film = paint(tmp_path / "film.mp4", ("red", 1))
    seen = look_at(str(film))
    expect_unchanged(seen)
    os.utime(film, (1, 1))
    with pytest.raises(VideoError, match="still being written"):
        expect_unchanged(seen)
