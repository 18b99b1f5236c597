"""The scan against its plain reference, and against the exact scores where codes lose nothing."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prost.search.scan as scan_module
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.search.codebook import train_codebook
from prost.search.scan import (
    Codebooks,
    CodedClips,
    QueryTables,
    code_clips,
    pack_codes,
    reference_scores,
    refine,
    scan,
    unpack_codes,
)

CLIPS, FRAMES, SLOTS, EVENTS, WIDTH = 150, 6, 3, 2, 16


def prototypes(seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Clips in which frames often repeat, with dead slots."""
    random = np.random.default_rng(seed)
    directions = random.normal(size=(40, WIDTH))
    object = directions[random.integers(0, 40, (CLIPS, FRAMES, SLOTS))]
    object = object + 0.2 * random.normal(size=object.shape)
    object[:, 1:3] = object[:, :1]
    object[::5, :, 1] = 0
    object[3, 4] = 0
    event = random.normal(size=(CLIPS, EVENTS, WIDTH)) * 7
    event[9, 1] = 0
    return object.astype(np.float32), event.astype(np.float32)


def queries(count: int) -> TextPrototypes:
    generator = torch.Generator().manual_seed(count)
    phrase = torch.randn(count, 4, WIDTH, generator=generator)
    phrase[0, 2] = 0
    return TextPrototypes(phrase, torch.randn(count, WIDTH, generator=generator))


def coded(size: int) -> tuple[Codebooks, CodedClips]:
    object, event = prototypes()
    books = Codebooks(
        *(train_codebook(torch.from_numpy(each).reshape(-1, WIDTH), size) for each in (object, event))
    )
    return books, code_clips(books, object, event)[0]


@pytest.fixture(scope="module")
def coarse() -> tuple[Codebooks, CodedClips]:
    """Codes that lose much."""
    return coded(24)


def ranked(scores: np.ndarray, count: int) -> np.ndarray:
    return np.lexsort((np.arange(len(scores)), -scores))[:count]


@pytest.mark.parametrize("count", [1, 10, CLIPS - 1, CLIPS, 10 * CLIPS])
@pytest.mark.parametrize("sentences", [1, 3])
def test_the_scan_finds_what_the_reference_ranks_first(coarse, count: int, sentences: int) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(sentences), books, 1.5)

    found = scan(tables, clips, count)

    expected = reference_scores(tables, clips)
    for query in range(sentences):
        assert len(found[query]) == min(count, CLIPS)
        assert found[query].scores == pytest.approx(expected[query][ranked(expected[query], count)], abs=1e-5)
        assert found[query].scores == pytest.approx(expected[query][found[query].rows], abs=1e-5)


def test_the_order_of_equal_scores_is_that_of_the_clips(coarse) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(1), books, 1.5)
    alike = QueryTables(np.ones_like(tables.object), np.ones_like(tables.event), tables.sentence, 1.5)
    assert scan(alike, clips, 40)[0].rows.tolist() == list(range(40))


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_blocks_change_nothing(coarse, block: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(2), books, 1.5)
    expected = scan(tables, clips, 20)
    monkeypatch.setattr(scan_module, "CLIPS_AT_ONCE", block)
    # A compiled function keeps the constants that it was compiled with: this one runs as Python.
    monkeypatch.setattr(scan_module, "_scan", scan_module._scan.py_func)
    found = scan(tables, clips, 20)
    assert [each.rows.tolist() for each in found] == [each.rows.tolist() for each in expected]


def test_codes_of_all_different_vectors_give_the_exact_scores() -> None:
    object, event = prototypes()
    books, clips = coded(10**5)
    text = queries(3)

    found = scan(QueryTables.of(text, books, 1.5), clips, CLIPS)

    exact = match(text, VideoPrototypes(torch.from_numpy(object), torch.from_numpy(event)), 1.5).total
    for query, candidates in enumerate(found):
        assert candidates.scores == pytest.approx(exact[query].numpy()[candidates.rows], abs=1e-5)
        best = np.argsort(-exact[query].numpy())[:10]
        assert candidates.rows[:10].tolist() == best.tolist()


def test_a_clip_of_dead_slots_scores_0() -> None:
    books, _ = coded(24)
    dead = np.zeros((2, FRAMES, SLOTS, WIDTH), dtype=np.int8)
    clips, errors = code_clips(books, dead, np.zeros((2, EVENTS, WIDTH), dtype=np.float32))
    found = scan(QueryTables.of(queries(1), books, 1.5), clips, 2)[0]
    assert found.scores.tolist() == [0, 0]
    assert errors.tolist() == [0, 0]
    assert refine(QueryTables.of(queries(1), books, 1.5), clips, [found])[0].scores.tolist() == [0, 0]


class TestAllowed:
    def test_other_clips_are_not_found(self, coarse) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        tables = QueryTables.of(queries(2), books, 1.5)
        allowed = np.random.default_rng(1).uniform(size=CLIPS) < 0.3

        found = scan(tables, clips, 10, allowed)

        expected = np.where(allowed, reference_scores(tables, clips), -np.inf)
        for query in range(2):
            assert allowed[found[query].rows].all()
            assert found[query].scores == pytest.approx(np.sort(expected[query])[::-1][:10], abs=1e-5)

    def test_fewer_than_wanted(self, coarse) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        allowed = np.zeros(CLIPS, dtype=bool)
        allowed[[5, 77]] = True
        found = scan(QueryTables.of(queries(1), books, 1.5), clips, 10, allowed)[0]
        assert sorted(found.rows.tolist()) == [5, 77]

    def test_none(self, coarse) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        nothing = np.zeros(CLIPS, dtype=bool)
        assert len(scan(QueryTables.of(queries(1), books, 1.5), clips, 10, nothing)[0]) == 0


def test_refined_event_scores_are_those_of_the_8_bit_events(coarse) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    text = queries(2)
    tables = QueryTables.of(text, books, 1.5)
    found = scan(tables, clips, 50)

    refined = refine(tables, clips, found)

    for query in range(2):
        assert sorted(refined[query].rows.tolist()) == sorted(found[query].rows.tolist())
        assert (np.diff(refined[query].scores) <= 0).all()
        sentence = tables.sentence[query].astype(np.float64)
        for row, score in zip(refined[query].rows, refined[query].scores, strict=True):
            object_phrase = tables.object[query][unpack_codes(clips, row)].max(axis=1).mean()
            directions = clips.event[row] * clips.event_scales[row][:, None].astype(np.float64)
            assert score == pytest.approx(1.5 * object_phrase + (directions @ sentence).max(), abs=1e-4)


def test_coding_tells_what_it_lost() -> None:
    object, event = prototypes()
    books, _ = coded(24)
    _, errors = code_clips(books, object, event)
    for error, book, vectors in zip(errors, (books.object, books.event), (object, event), strict=True):
        cosines = book.assign(torch.from_numpy(vectors).reshape(-1, WIDTH))[1]
        assert error == pytest.approx(float((1 - cosines.double()).sum()))
        assert error > 1


class TestPackedCodes:
    def test_a_worked_case(self) -> None:
        # Two slots of six frames: one shows five different codes, so both take two words.
        codes = np.array([[[7, 1], [7, 2], [7, 3], [7, 4], [9, 5], [7, 1]]])
        words, starts = pack_codes(codes)
        assert starts.tolist() == [0, 4]
        slots = words.reshape(2, 2).view(np.uint16)
        assert slots.tolist() == [[7, 9, 7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 1, 1, 1]]

    def test_frames_that_look_alike_cost_nothing(self) -> None:
        words, starts = pack_codes(np.full((2, 64, 3), 5))
        assert len(words) == 2 * 3
        assert starts.tolist() == [0, 3, 6]

    def test_no_clips(self) -> None:
        words, starts = pack_codes(np.empty((0, 12, 3), dtype=np.int64))
        assert len(words) == 0
        assert starts.tolist() == [0]

    @given(st.integers(0, 2**31), st.integers(1, 14), st.integers(1, 4), st.integers(1, 30))
    @settings(max_examples=40, deadline=None)
    def test_each_slot_keeps_its_different_codes(
        self, seed: int, frames: int, slots: int, largest: int
    ) -> None:
        codes = np.random.default_rng(seed).integers(0, largest, (5, frames, slots))
        words, starts = pack_codes(codes)
        for clip in range(5):
            kept = np.array(words[starts[clip] : starts[clip + 1]]).reshape(slots, -1).view(np.uint16)
            assert [set(slot) for slot in kept.tolist()] == [set(slot) for slot in codes[clip].T.tolist()]
            assert kept.shape[1] == 4 * -(-max(len(set(slot)) for slot in codes[clip].T.tolist()) // 4)
