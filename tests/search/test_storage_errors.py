"""Only what Lance or the system says is translated; a bug of ours stays what it is."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import lance
import pyarrow as pa
import pytest

from prost.errors import BadFilter, LibraryDamaged, StorageError
from prost.search.coding import Coding
from prost.search.library import Library
from prost.search.storage_errors import storage_errors


@pytest.mark.parametrize(
    "bug",
    [
        RuntimeError("[enforce fail at alloc_cpu.cpp:124] DefaultCPUAllocator: can't allocate memory"),
        ValueError("operands could not be broadcast together"),
        KeyError("content"),
        MemoryError(),
        OSError(errno.EBADF, "bad file descriptor"),
        BadFilter("x"),
    ],
    ids=lambda bug: type(bug).__name__,
)
def test_what_is_not_recognised_passes_through(bug: Exception) -> None:
    with pytest.raises(type(bug)) as caught, storage_errors("/library"):
        raise bug
    assert caught.value is bug


@pytest.mark.parametrize("number", [errno.ENOSPC, errno.EROFS, errno.EACCES, errno.EDQUOT, errno.EIO])
def test_a_refusal_of_the_disk(number: int) -> None:
    with pytest.raises(StorageError, match="what was stored is kept"), storage_errors("/library"):
        raise OSError(number, os.strerror(number))


def test_a_data_file_that_is_gone(tmp_path: Path) -> None:
    lance.write_dataset(pa.table({"number": [1, 2]}), tmp_path / "table")
    for file in (tmp_path / "table" / "data").iterdir():
        file.unlink()
    with pytest.raises(LibraryDamaged, match="cannot be read") as caught, storage_errors("/library"):
        lance.dataset(tmp_path / "table").to_table()
    assert ".rs" not in str(caught.value)


PLACE = "/lance-io/src/object_reader.rs:1:2"


@pytest.mark.parametrize(
    "answer",
    ["429 Too Many Requests", "500 Internal Server Error", "503 Service Unavailable: <Code>SlowDown</Code>"],
)
def test_an_overloaded_object_store(answer: str) -> None:
    with pytest.raises(StorageError, match="overloaded"), storage_errors("s3://films/a.prost"):
        raise OSError(
            f"LanceError(IO): Generic S3 error: Server returned non-2xx status code: {answer}, {PLACE}"
        )


def test_an_unknown_answer_of_an_object_store_is_no_damage_but_a_short_object_is() -> None:
    with pytest.raises(StorageError, match="cannot be used"), storage_errors("s3://films/a.prost"):
        raise OSError(f"LanceError(IO): Generic S3 error: status code: 418 Teapot, {PLACE}")
    with pytest.raises(LibraryDamaged), storage_errors("s3://films/a.prost"):
        raise OSError(f"LanceError(IO): Generic S3 error: status code: 416 Range Not Satisfiable, {PLACE}")


@pytest.mark.parametrize("step", ["_train", "_code_fragment"])
@pytest.mark.parametrize("bug", [RuntimeError("can't allocate memory"), ValueError("shapes differ")])
def test_a_bug_in_coding_is_not_reported_as_damage(
    filled: Library, monkeypatch: pytest.MonkeyPatch, step: str, bug: Exception
) -> None:
    def fail(*args: object) -> None:
        raise bug

    monkeypatch.setattr(Coding, step, fail)
    with pytest.raises(type(bug)) as caught:
        filled.optimize()
    assert caught.value is bug
