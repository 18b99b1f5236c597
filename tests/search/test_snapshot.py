"""A snapshot gives the same answers from memory and from disk."""

from pathlib import Path

import numpy as np
import pytest
import torch

import prost.search.snapshot as snapshot_module
from prost.model.matching import TextPrototypes
from prost.search.description import Description
from prost.search.exact import ClipPrototypes, score
from prost.search.quantise import dequantise
from prost.search.records import ClipRows, ClipSettings, PrototypeSizes
from prost.search.snapshot import ClipSnapshot
from prost.search.store import Store

SIZES = PrototypeSizes(frames=4, objects=3, events=2, width=8)
CLIP_BYTES = 4 * 3 * (8 + 4) + 2 * 8 * 4


@pytest.fixture
def written() -> list[ClipRows]:
    """Four videos of 3, 1, 5 and 2 clips."""
    random = np.random.default_rng(5)
    return [
        ClipRows(
            content=content,
            first=0,
            start=np.arange(count) * 9.0,
            end=np.arange(count) * 9.0 + 12,
            frame_times=random.uniform(0, 12, (count, 4)),
            object_codes=random.integers(-127, 128, (count, 4, 3, 8)).astype(np.int8),
            object_scales=random.uniform(size=(count, 4, 3)).astype(np.float32),
            event=random.normal(size=(count, 2, 8)).astype(np.float32),
            event_attention=random.uniform(size=(count, 2, 4)).astype(np.float32),
        )
        for content, count in (("a", 3), ("b", 1), ("gone", 5), ("c", 2))
    ]


@pytest.fixture
def store(tmp_path: Path, written: list[ClipRows]) -> Store:
    """The four videos in several fragments, the third of them deleted."""
    store = Store.create(
        str(tmp_path / "x.prost"),
        describe(SIZES),
    )
    for rows in written:
        store.append_clips([rows])
    store.clips().delete("content = 'gone'")
    return store


@pytest.fixture
def text() -> TextPrototypes:
    generator = torch.Generator().manual_seed(1)
    return TextPrototypes(torch.randn(1, 5, 8, generator=generator), torch.randn(1, 8, generator=generator))


@pytest.mark.parametrize("memory", [10**9, 0], ids=["in memory", "from disk"])
@pytest.mark.parametrize("piece", [2 * CLIP_BYTES, 10**9], ids=["piece by piece", "at once"])
@pytest.mark.parametrize("rows", [[0, 1, 2, 3, 4, 5], [1, 4], [5], [0, 3]], ids=str)
def test_scores_are_those_of_the_rows(store, written, text, memory, piece, rows, monkeypatch) -> None:  # type: ignore[no-untyped-def]
    monkeypatch.setattr(snapshot_module, "PIECE_BYTES", piece)
    snapshot = ClipSnapshot(store, memory)
    kept = [each for each in written if each.content != "gone"]
    codes = np.concatenate([each.object_codes for each in kept])
    event = np.concatenate([each.event for each in kept])

    scores = snapshot.score(text, np.array(rows), 1.5)

    expected = score(text, ClipPrototypes.of(codes, event), 1.5)
    assert scores.total == pytest.approx(expected.total[rows], abs=1e-6)
    assert scores.object_phrase == pytest.approx(expected.object_phrase[rows], abs=1e-6)
    assert scores.event_sentence == pytest.approx(expected.event_sentence[rows], abs=1e-6)


def describe(sizes: PrototypeSizes) -> Description:
    return Description(model="toy", fingerprint="f", sizes=sizes, clips=ClipSettings())


def test_evidence_is_that_of_the_same_rows(store: Store, written: list[ClipRows]) -> None:
    snapshot = ClipSnapshot(store, 10**9)
    assert [snapshot.contents[place].as_py() for place in snapshot.content_of] == [
        "a",
        "a",
        "a",
        "b",
        "c",
        "c",
    ]

    last, second = snapshot.stored_clips(np.array([5, 1]), snapshot.reader({}))

    assert (last.key, second.key) == ("c:1", "a:1")
    assert (last.start, last.end) == (9.0, 21.0)
    c = written[3]
    assert last.frame_times.tolist() == c.frame_times[1].tolist()
    assert last.object.tolist() == dequantise(c.object_codes, c.object_scales)[1].tolist()
    assert last.event.tolist() == c.event[1].tolist()
    assert last.event_attention.tolist() == c.event_attention[1].tolist()


def test_it_stays_at_its_version(store: Store, written: list[ClipRows], text: TextPrototypes) -> None:
    before = ClipSnapshot(store, 0)
    store.append_clips([written[2]])
    assert len(before.score(text, np.arange(6), 1.5).total) == len(before) == 6
    assert len(ClipSnapshot(store, 0)) == 11


def test_an_empty_library_has_no_clips(tmp_path: Path) -> None:
    store = Store.create(
        str(tmp_path / "y.prost"),
        describe(SIZES),
    )
    assert len(ClipSnapshot(store, 10**9)) == 0
