"""What will be written is checked before the work, and written whole."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from prost.data.writing import expect_writable, written_whole
from prost.errors import StorageError, UsageError


class TestBeforeTheWork:
    def test_folders_need_not_be_there_and_none_is_made(self, tmp_path: Path) -> None:
        (tmp_path / "old.json").write_text("{}")
        expect_writable(tmp_path / "a" / "b" / "new.json", None, tmp_path / "old.json")
        assert [path.name for path in tmp_path.iterdir()] == ["old.json"]

    def test_a_path_of_the_working_directory(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.chdir(tmp_path)
        expect_writable(Path("new.json"), Path("a/new.json"))

    def test_a_folder_is_no_file(self, tmp_path: Path) -> None:
        with pytest.raises(UsageError, match="is a folder"):
            expect_writable(tmp_path / "new.json", tmp_path)

    def test_a_file_is_no_folder(self, tmp_path: Path) -> None:
        (tmp_path / "file").write_text("")
        for path in (tmp_path / "file" / "new.json", tmp_path / "file" / "a" / "new.json"):
            with pytest.raises(StorageError, match=r"new\.json cannot be written: Not a directory"):
                expect_writable(path)

    @pytest.mark.skipif(not hasattr(os, "geteuid") or os.geteuid() == 0, reason="root may write anywhere")
    @pytest.mark.parametrize("mode", [0o500, 0o600])
    def test_a_folder_that_may_not_be_written_to(self, tmp_path: Path, mode: int) -> None:
        (tmp_path / "closed").mkdir(mode=mode)
        with pytest.raises(StorageError, match="Permission denied"):
            expect_writable(tmp_path / "closed" / "new.json")


def test_a_failed_write_leaves_what_was_there(tmp_path: Path) -> None:
    file = tmp_path / "a.json"
    file.write_text("before")
    with (
        pytest.raises(StorageError, match=r"a\.json cannot be written: no room"),
        written_whole(file) as partial,
    ):
        partial.write_text("half")
        raise OSError("no room")
    assert file.read_text() == "before" and list(tmp_path.iterdir()) == [file]
