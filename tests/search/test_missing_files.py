from __future__ import annotations

from pathlib import Path

import pytest

from prost.search.missing_files import is_gone, is_under, sort_gone


@pytest.fixture
def known(tmp_path: Path) -> list[str]:
    """Ten files in each of two folders, all there."""
    paths = [tmp_path / folder / f"{number}.mp4" for folder in ("sea", "hill") for number in range(10)]
    for path in paths:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    return [str(path) for path in paths]


def there(known: list[str]) -> list[str]:
    return [path for path in known if Path(path).exists()]


def test_a_deleted_file(tmp_path: Path, known: list[str]) -> None:
    Path(known[3]).unlink()
    gone = sort_gone(known, there(known), [str(tmp_path)])
    assert (gone.deleted, gone.missing) == ([known[3]], [])


def test_only_what_was_asked_for_counts(tmp_path: Path, known: list[str]) -> None:
    Path(known[3]).unlink()
    assert sort_gone(known, there(known), [str(tmp_path / "hill")]).deleted == []
    assert sort_gone(known, there(known)[10:], [str(tmp_path / "hill")]).missing == []


def test_more_than_half(tmp_path: Path, known: list[str]) -> None:
    for path in (*known[:6], *known[10:15]):
        Path(path).unlink()
    gone = sort_gone(known, there(known), [str(tmp_path)])
    assert (gone.deleted, len(gone.missing)) == ([], 11)


def test_more_than_twenty(tmp_path: Path) -> None:
    paths = [tmp_path / f"{number:02}.mp4" for number in range(60)]
    for path in paths:
        path.touch()
    known = [str(path) for path in paths]
    for path in paths[:20]:
        path.unlink()
    assert len(sort_gone(known, there(known), [str(tmp_path)]).deleted) == 20
    paths[20].unlink()
    assert len(sort_gone(known, there(known), [str(tmp_path)]).missing) == 21


def test_is_under() -> None:
    assert is_under("/a/b", "/a") and is_under("/a", "/a") and is_under("/a", "/")
    assert not is_under("/ab", "/a")


def test_a_dangling_link_is_not_gone(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nowhere")
    assert not is_gone(str(tmp_path / "link"))
    assert is_gone(str(tmp_path / "nowhere"))
    assert is_gone(str(tmp_path / "link" / "x.mp4"))
