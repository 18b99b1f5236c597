"""Prototypes read where Lance wrote them are those that Lance gives."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import numpy as np
import pytest

from prost.errors import LibraryDamaged
from prost.search.description import Description
from prost.search.fragments import FlatRows, RowReader, agree, data_file, find_pages, read_prototypes
from prost.search.records import ClipRows, ClipSettings, PrototypeSizes
from prost.search.store import Store

# Wide enough that Lance stores a row as it is.
WIDE = PrototypeSizes(frames=6, objects=4, events=3, width=64)
NARROW = PrototypeSizes(frames=2, objects=2, events=1, width=4)


def describe(sizes: PrototypeSizes) -> Description:
    return Description(model="toy", fingerprint="f", sizes=sizes, clips=ClipSettings())


def rows(content: str, count: int, sizes: PrototypeSizes) -> ClipRows:
    random = np.random.default_rng(count)
    shape = (count, sizes.frames, sizes.objects)
    return ClipRows(
        content=content,
        first=0,
        start=np.arange(count) * 1.0,
        end=np.arange(count) + 1.0,
        frame_times=random.uniform(size=(count, sizes.frames)),
        object_codes=random.integers(-127, 128, (*shape, sizes.width)).astype(np.int8),
        object_scales=random.uniform(size=shape).astype(np.float32),
        event=random.normal(size=(count, sizes.events, sizes.width)).astype(np.float32),
        event_attention=np.ones((count, sizes.events, sizes.frames), dtype=np.float32),
    )


def made(tmp_path: Path, sizes: PrototypeSizes) -> tuple[Store, np.ndarray, np.ndarray]:
    """A library of two fragments, with some rows of the first deleted; and the prototypes that are left."""
    store = Store.create(
        str(tmp_path / "x.prost"),
        describe(sizes),
    )
    written = [rows("a", 70, sizes), rows("gone", 5, sizes), rows("b", 40, sizes)]
    store.append_clips(written[:2])
    store.append_clips(written[2:])
    store.clips().delete("content = 'gone' OR start = 3")
    kept = [np.delete(np.arange(70), 3), np.empty(0, int), np.delete(np.arange(40), 3)]
    return (
        store,
        np.concatenate([each.object_codes[keep] for each, keep in zip(written, kept, strict=True)]),
        np.concatenate([each.event[keep] for each, keep in zip(written, kept, strict=True)]),
    )


def paths(store: Store) -> dict[str, tuple[str, int]]:
    table = store.clips()
    return {
        data_file(each): (os.path.join(table.uri, "data", data_file(each)), each.physical_rows)
        for each in table.get_fragments()
    }


def test_wide_rows_are_found_in_the_file_and_narrow_ones_are_not(tmp_path: Path) -> None:
    store, _, _ = made(tmp_path / "wide", WIDE)
    for path, count in paths(store).values():
        pages = find_pages(path, count, WIDE)
        assert pages is not None
        assert sum(rows for rows, _ in pages["object_codes"]) == count
        assert find_pages(path, count + 1, WIDE) is None
    store, _, _ = made(tmp_path / "narrow", NARROW)
    assert [find_pages(path, count, NARROW) for path, count in paths(store).values()] == [None, None]


def test_rows_of_a_fragment_come_with_their_places(tmp_path: Path) -> None:
    store, object, event = made(tmp_path, WIDE)
    table = store.clips()
    parts = [
        part for fragment in table.get_fragments() for part in read_prototypes(table, fragment, WIDE, 16)
    ]
    assert max(map(len, parts)) <= 16
    assert np.concatenate([part.object_codes for part in parts]).tolist() == object.tolist()
    assert np.concatenate([part.event for part in parts]).tolist() == event.tolist()
    places = np.concatenate([part.offsets for part in parts]).tolist()
    assert places == [place for place in range(70) if place != 3] + [
        place for place in range(40) if place != 3
    ]


@pytest.mark.parametrize("sizes", [WIDE, NARROW], ids=["mapped", "taken"])
def test_single_rows(tmp_path: Path, sizes: PrototypeSizes) -> None:
    store, object, event = made(tmp_path, sizes)
    table = store.clips()
    addresses = table.to_table(columns=["key"], with_row_address=True)["_rowaddr"].to_numpy()
    pages = {
        name: found for name, at in paths(store).items() if (found := find_pages(*at, sizes)) is not None
    }
    assert bool(pages) == (sizes is WIDE)
    wanted = np.array([107, 2, 69, 3, 68, 0])

    for known in (pages, dict(list(pages.items())[:1]), {}):
        read = RowReader(table, addresses, known, sizes).read(wanted)
        assert read.object_codes.numpy().tolist() == object[wanted].tolist()
        assert read.event.numpy().tolist() == event[wanted].tolist()


def test_pages_that_are_wrong_are_found_out(tmp_path: Path) -> None:
    store, _, _ = made(tmp_path, WIDE)
    table = store.clips()
    fragment = table.get_fragments()[0]
    path, count = paths(store)[data_file(fragment)]
    pages = find_pages(path, count, WIDE)
    assert pages is not None
    wrong = {**pages, "object_codes": [(rows, place + 64) for rows, place in pages["object_codes"]]}
    (part,) = read_prototypes(table, fragment, WIDE, 1000)
    assert agree(FlatRows(path, pages, WIDE), part)
    assert not agree(FlatRows(path, wrong, WIDE), part)
    with pytest.raises(LibraryDamaged, match="shorter"):
        FlatRows(path, {**pages, "event": [(10**6, 0)]}, WIDE)


@pytest.mark.skipif(not hasattr(os, "RWF_NOWAIT"), reason="this system does not tell what is in its memory")
@pytest.mark.parametrize(
    "answer",
    ["in memory", BlockingIOError(), OSError(errno.EOPNOTSUPP, "no"), PermissionError(), 1],
    ids=["in memory", "on the disk", "cannot tell", "forbidden", "a part in memory"],
)
def test_rows_outside_the_memory_of_the_system_are_asked_for_and_then_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: OSError | int | str
) -> None:
    """Whatever the system answers to a read that must not wait, the rows are those that were written."""
    store, codes, event = made(tmp_path, WIDE)
    table = store.clips()
    addresses = table.to_table(columns=["key"], with_row_address=True)["_rowaddr"].to_numpy()
    pages = {name: found for name, at in paths(store).items() if (found := find_pages(*at, WIDE)) is not None}
    reader = RowReader(table, addresses, pages, WIDE)
    happened: list[str] = []
    preadv, advise = os.preadv, os.posix_fadvise

    def impatient(file: int, buffers: list[memoryview], place: int, flags: int = 0) -> int:
        if flags == os.RWF_NOWAIT:
            if isinstance(answer, OSError):
                raise answer
            wanted = buffers if isinstance(answer, str) else [buffers[0][:answer]]
            return preadv(file, wanted, place)
        happened.append("waited")
        return preadv(file, buffers, place, flags)

    def refused(file: int, place: int, size: int, advice: int) -> None:
        happened.append("asked")
        advise(file, place, size, advice)
        raise OSError(errno.EINVAL, "advice is not needed")

    monkeypatch.setattr(os, "preadv", impatient)
    monkeypatch.setattr(os, "posix_fadvise", refused)
    wanted = np.array([2, 0, 1, 2])
    for _ in range(2):
        happened.clear()
        read = reader.read(wanted)
        assert read.object_codes.numpy().tolist() == codes[wanted].tolist()
        assert read.event.numpy().tolist() == event[wanted].tolist()
        late = 0 if answer == "in memory" else 2 * len(wanted)  # two columns
        assert happened == ["asked"] * late + ["waited"] * late


def test_a_column_of_several_pages(tmp_path: Path) -> None:
    file = tmp_path / "pages"
    codes = np.arange(5 * 6 * 4 * 64, dtype=np.int64).astype(np.int8).reshape(5, 6, 4, 64)
    event = np.arange(5 * 3 * 64, dtype=np.float32).reshape(5, 3, 64)
    file.write_bytes(codes[3:].tobytes() + codes[:3].tobytes() + event.tobytes())
    half, whole = 2 * codes[0].nbytes, codes.nbytes
    flat = FlatRows(str(file), {"object_codes": [(3, half), (2, 0)], "event": [(5, whole)]}, WIDE)
    wanted = np.array([4, 0, 2, 3, 0])
    assert flat.take("object_codes", wanted).tolist() == codes[wanted].tolist()
    assert flat.take("event", wanted).tolist() == event[wanted].tolist()
