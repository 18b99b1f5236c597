"""Mapped files come back as they were written, or not at all."""

import os
from pathlib import Path

import numpy as np
import pytest

import prost.search.mapped as mapped
from prost.errors import PackDamaged
from prost.search.mapped import MappedFile, open_mapped, write_mapped

ARRAYS = {
    "codes": np.arange(24, dtype=np.uint16).reshape(4, 6),
    "scales": np.array([0.5, 0.25], dtype=np.float32),
    "nothing": np.empty((0, 3), dtype=np.int8),
}


def write(folder: Path, notes: dict | None = None) -> Path:
    return write_mapped(folder, "x-{hash}.pack", "pack", notes or {"of": "a", "pages": [[1, 2]]}, ARRAYS)


def opened_and_verified(path: Path) -> MappedFile:
    file = open_mapped(path, "pack")
    file.verify()
    return file


def test_what_was_written_comes_back(tmp_path: Path) -> None:
    file = opened_and_verified(write(tmp_path))
    assert file.notes == {"of": "a", "pages": [[1, 2]]}
    assert file.arrays.keys() == ARRAYS.keys()
    for name, array in ARRAYS.items():
        assert file.arrays[name].dtype == array.dtype
        assert file.arrays[name].tolist() == array.tolist()
        assert not file.arrays[name].flags.writeable


def test_the_name_tells_contents_apart_and_nothing_else_is_left(tmp_path: Path) -> None:
    names = {write(tmp_path).name, write(tmp_path, {"of": "b"}).name, write(tmp_path).name}
    assert len(names) == 2
    assert {path.name for path in tmp_path.iterdir()} == names


def test_every_single_flipped_bit_and_every_cut_is_noticed(tmp_path: Path) -> None:
    path = write(tmp_path)
    whole = path.read_bytes()
    used = [
        place
        for place in range(len(whole))
        # Between header and arrays, and between arrays, there is nothing but zeros.
        if whole[place] != 0 or place < 16
    ]
    for place in used:
        harmed = bytearray(whole)
        harmed[place] ^= 1
        path.write_bytes(harmed)
        with pytest.raises(PackDamaged, match="prost optimize"):
            opened_and_verified(path)
    for length in range(0, len(whole), 7):
        path.write_bytes(whole[:length])
        with pytest.raises(PackDamaged):
            open_mapped(path, "pack")
    path.write_bytes(whole + b"\0")
    with pytest.raises(PackDamaged, match="bytes instead of"):
        open_mapped(path, "pack")


def test_another_kind_of_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(PackDamaged, match="it holds pack, not codebooks"):
        open_mapped(write(tmp_path), "codebooks")


def test_a_file_that_is_gone_is_no_damage(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError):
        open_mapped(tmp_path / "x.pack", "pack")


def test_a_mapped_file_outlives_its_name(tmp_path: Path) -> None:
    path = write(tmp_path)
    file = open_mapped(path, "pack")
    path.unlink()
    assert file.arrays["codes"].tolist() == ARRAYS["codes"].tolist()
    file.verify()


@pytest.mark.parametrize("limit", [0, 1 << 20], ids=["mapped", "in memory"])
class TestChangesUnderAnOpenFile:
    @pytest.fixture(autouse=True)
    def read_whole(self, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(mapped, "READ_WHOLE", limit)

    def test_a_file_that_is_cut_short(self, tmp_path: Path, limit: int) -> None:
        file = opened_and_verified(write(tmp_path))
        assert file.unchanged()
        os.truncate(file.path, 100)
        assert file.unchanged() == (limit > 0)
        if limit:
            assert file.arrays["codes"].tolist() == ARRAYS["codes"].tolist()
            file.verify()
        else:
            with pytest.raises(PackDamaged, match="codes have changed"):
                file.verify()

    def test_a_file_that_is_overwritten(self, tmp_path: Path, limit: int) -> None:
        file = opened_and_verified(write(tmp_path))
        os.utime(file.path, (1, 1))
        file = opened_and_verified(file.path)
        file.path.write_bytes(file.path.read_bytes())
        assert file.unchanged() == (limit > 0)

    def test_a_file_that_is_removed_or_replaced(self, tmp_path: Path, limit: int) -> None:
        file = opened_and_verified(write(tmp_path))
        replacement = tmp_path / "other"
        replacement.write_bytes(b"")
        os.replace(replacement, file.path)
        file.path.unlink()
        assert file.unchanged()
        assert file.arrays["codes"].tolist() == ARRAYS["codes"].tolist()


def test_a_folder_is_damage_and_is_replaced_by_the_next_file(tmp_path: Path) -> None:
    path = write(tmp_path)
    path.unlink()
    (path / "inside").mkdir(parents=True)
    with pytest.raises(PackDamaged, match="cannot be read"):
        open_mapped(path, "pack")
    assert write(tmp_path) == path
    opened_and_verified(path)
