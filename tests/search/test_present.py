"""A file, a copy of it, and what is left when they are changed and removed."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any

import pytest
from tests.search.conftest import paint_video

from prost.errors import LibraryError, MissingPath
from prost.search.library import Library
from prost.search.present import expect_present, is_as_indexed, present


@pytest.fixture
def copied(tmp_path: Path, model: Any) -> tuple[Library, Path, Path]:
    """A library of a video and of its copy, which has another time."""
    first = paint_video(tmp_path / "a.mp4", ("red", 2))
    second = Path(shutil.copyfile(first, tmp_path / "b.mp4"))
    os.utime(second, (0, 100))
    library = Library(tmp_path / "copied.prost", model)
    library.add(tmp_path, workers=1)
    return library, first, second


def test_the_first_that_is_as_it_was_indexed(copied: tuple[Library, Path, Path]) -> None:
    library, first, second = copied
    (row,) = library.videos("path LIKE '%a.mp4'")
    rows = library.files_of(row)
    assert [each.path for each in rows] == [str(first), str(second)]
    assert [each.path for each in library.files_of(rows[1])] == [str(second), str(first)]
    assert present(rows) == rows[0] and present(rows[::-1]) == rows[1] and expect_present(rows) == rows[0]

    os.utime(first, (0, 1))
    assert not is_as_indexed(rows[0]) and is_as_indexed(rows[1])
    assert present(rows) == expect_present(rows) == rows[1]

    second.unlink()
    assert present(rows) == present(rows[::-1]) == rows[0]
    with pytest.raises(LibraryError, match=r"a\.mp4 has changed since it was indexed"):
        expect_present(rows)

    first.unlink()
    assert present(rows) is None
    with pytest.raises(MissingPath, match=r"a\.mp4 is gone"):
        expect_present(rows)


def test_hits_are_of_a_file_that_is_there(copied: tuple[Library, Path, Path]) -> None:
    library, first, second = copied
    (row,) = library.videos("path LIKE '%a.mp4'")

    def found() -> list[tuple[str, tuple[str, ...], bool]]:
        hits = library.search("red")[0], library.hit_at("red", row, 0, 1)
        return [(hit.path, hit.copies, hit.missing) for hit in hits]

    assert found() == 2 * [(str(first), (str(second),), False)]
    os.utime(first, (0, 1))
    assert found() == 2 * [(str(second), (str(first),), False)]
    first.unlink()
    assert found() == 2 * [(str(second), (str(first),), False)]
    second.unlink()
    assert found() == 2 * [(str(first), (str(second),), True)]
