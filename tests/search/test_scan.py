"""The scan against its plain reference, and against the exact scores where codes lose nothing."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

import prost.search.scan as scan_module
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.search import scan_kernels
from prost.search.candidates import Candidates
from prost.search.codebook import train_codebook
from prost.search.codes import Codebooks, CodedClips, code_clips, pack_codes
from prost.search.pruning import MARGIN
from prost.search.scan import SAMPLED_CLIPS, SHORTEST_STRIDE, QueryTables, refine, scan

Unpack = Callable[[CodedClips, int], np.ndarray]
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


@pytest.fixture(scope="module")
def reference_scores(unpack_codes: Unpack) -> Callable[[QueryTables, CodedClips], np.ndarray]:
    """Computes what the scan computes, written plainly: similarity of each sentence and clip by codes `[Q, n]`."""

    def reference(tables: QueryTables, clips: CodedClips) -> np.ndarray:
        scores = np.empty((len(tables), len(clips)))
        for clip in range(len(clips)):
            slots = unpack_codes(clips, clip)
            object_phrase = tables.object.astype(np.float64)[:, slots].max(axis=2).mean(axis=1)
            event_sentence = tables.event.astype(np.float64)[:, clips.event_codes[clip]].max(axis=1)
            scores[:, clip] = event_sentence + tables.object_phrase_weight * object_phrase
        return scores

    return reference


def ranked(scores: np.ndarray, count: int) -> np.ndarray:
    return np.lexsort((np.arange(len(scores)), -scores))[:count]


@pytest.mark.parametrize("count", [1, 10, CLIPS - 1, CLIPS, 10 * CLIPS])
@pytest.mark.parametrize("sentences", [1, 3])
def test_the_scan_finds_what_the_reference_ranks_first(
    coarse, count: int, sentences: int, reference_scores
) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(sentences), books, 1.5)

    found = scan(tables, [clips], count)

    expected = reference_scores(tables, clips)
    for query in range(sentences):
        assert len(found[query]) == min(count, CLIPS)
        assert found[query].scores == pytest.approx(expected[query][ranked(expected[query], count)], abs=1e-5)
        assert found[query].scores == pytest.approx(expected[query][found[query].rows], abs=1e-5)


def test_the_order_of_equal_scores_is_that_of_the_clips(coarse) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(1), books, 1.5)
    alike = QueryTables(
        object=np.ones_like(tables.object),
        event=np.ones_like(tables.event),
        sentence=tables.sentence,
        object_phrase_weight=1.5,
    )
    assert scan(alike, [clips], 40)[0].rows.tolist() == list(range(40))


@pytest.mark.parametrize("block", [1, 7, 10**6])
def test_blocks_change_nothing(coarse, block: int, monkeypatch: pytest.MonkeyPatch) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(2), books, 1.5)
    expected = scan(tables, [clips], 20)
    monkeypatch.setattr(scan_kernels, "CLIPS_AT_ONCE", block)
    # A compiled function keeps the constants that it was compiled with, so the Python function runs here.
    monkeypatch.setattr(scan_kernels, "best_clips", scan_kernels.best_clips.py_func)
    found = scan(tables, [clips], 20)
    assert [each.rows.tolist() for each in found] == [each.rows.tolist() for each in expected]


def test_codes_of_all_different_vectors_give_the_exact_scores() -> None:
    object, event = prototypes()
    books, clips = coded(10**5)
    text = queries(3)

    found = scan(QueryTables.of(text, books, 1.5), [clips], CLIPS)

    exact = match(text, VideoPrototypes(torch.from_numpy(object), torch.from_numpy(event)), 1.5).total
    for query, candidates in enumerate(found):
        assert candidates.scores == pytest.approx(exact[query].numpy()[candidates.rows], abs=1e-5)
        best = np.argsort(-exact[query].numpy())[:10]
        assert candidates.rows[:10].tolist() == best.tolist()


def test_a_clip_of_dead_slots_scores_0() -> None:
    books, _ = coded(24)
    dead = np.zeros((2, FRAMES, SLOTS, WIDTH), dtype=np.int8)
    clips, errors = code_clips(books, dead, np.zeros((2, EVENTS, WIDTH), dtype=np.float32))
    found = scan(QueryTables.of(queries(1), books, 1.5), [clips], 2)[0]
    assert found.scores.tolist() == [0, 0]
    assert errors.tolist() == [0, 0]
    assert refine(QueryTables.of(queries(1), books, 1.5), [clips], [found])[0].scores.tolist() == [0, 0]


class TestAllowed:
    def test_other_clips_are_not_found(self, coarse, reference_scores) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        tables = QueryTables.of(queries(2), books, 1.5)
        allowed = np.random.default_rng(1).uniform(size=CLIPS) < 0.3

        found = scan(tables, [clips], 10, [allowed])

        expected = np.where(allowed, reference_scores(tables, clips), -np.inf)
        for query in range(2):
            assert allowed[found[query].rows].all()
            assert found[query].scores == pytest.approx(np.sort(expected[query])[::-1][:10], abs=1e-5)

    def test_fewer_than_wanted(self, coarse) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        allowed = np.zeros(CLIPS, dtype=bool)
        allowed[[5, 77]] = True
        found = scan(QueryTables.of(queries(1), books, 1.5), [clips], 10, [allowed])[0]
        assert sorted(found.rows.tolist()) == [5, 77]

    def test_none(self, coarse) -> None:  # type: ignore[no-untyped-def]
        books, clips = coarse
        nothing = np.zeros(CLIPS, dtype=bool)
        assert len(scan(QueryTables.of(queries(1), books, 1.5), [clips], 10, [nothing])[0]) == 0


def test_parts_are_scanned_as_if_they_were_joined(coarse) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    tables = QueryTables.of(queries(2), books, 1.5)
    parts = [clips[:20], clips[20:20], clips[20:]]
    allowed = np.random.default_rng(1).uniform(size=CLIPS) < 0.5
    masks = [allowed[:20], allowed[20:20], allowed[20:]]
    apart = scan(tables, parts, 30, masks)
    for together, found in zip(scan(tables, [clips], 30, [allowed]), apart, strict=True):
        assert found.rows.tolist() == together.rows.tolist()
    for together, found in zip(refine(tables, [clips], apart), refine(tables, parts, apart), strict=True):
        assert found.rows.tolist() == together.rows.tolist()
        assert found.scores.tolist() == together.scores.tolist()


def test_no_parts() -> None:
    books, _ = coded(24)
    tables = QueryTables.of(queries(2), books, 1.5)
    found = scan(tables, [], 10)
    assert [len(each) for each in found] == [0, 0]
    assert [len(each) for each in refine(tables, [], found)] == [0, 0]


MANY = SAMPLED_CLIPS * SHORTEST_STRIDE + 3000
CENTROIDS = 2000


def many_clips(object_codes: np.ndarray, event_codes: np.ndarray) -> CodedClips:
    """Clips that are only scanned, of codes `[n, slots]` that all frames share and `[n, events]`."""
    words, starts = pack_codes(object_codes[:, None])
    nothing = np.zeros((len(event_codes), event_codes.shape[1], 1), dtype=np.int8)
    return CodedClips(
        words=words,
        starts=starts,
        event_codes=event_codes.astype(np.uint16),
        event=nothing,
        event_scales=np.zeros(event_codes.shape, np.float32),
        slots=object_codes.shape[1],
    )


def rising(queries: int = 1, object_phrase_weight: float = 1.5) -> QueryTables:
    """Tables in which a code's score is its number, so that codes are written as scores."""
    table = np.tile(np.linspace(0, 1, CENTROIDS, dtype=np.float32), (queries, 1))
    return QueryTables(
        object=table,
        event=table,
        sentence=np.zeros((queries, 1), np.float32),
        object_phrase_weight=object_phrase_weight,
    )


def clips_that_agree(agreement: float, seed: int = 0, clips: int = MANY) -> CodedClips:
    """Clips whose two scores have about this correlation, of normal distributions."""
    random = np.random.default_rng(seed)
    common = random.normal(size=(clips, 1))
    own = random.normal(size=(clips, 3))
    object = agreement * common + np.sqrt(1 - agreement**2) * own
    object_codes, event_codes = (
        np.clip(CENTROIDS * (0.5 + 0.1 * each), 0, CENTROIDS - 1).astype(int) for each in (object, common)
    )
    return many_clips(object_codes, event_codes)


def both(tables: QueryTables, clips: CodedClips, query: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Weighted object-phrase score and event score of each clip with one code a slot."""
    slots = clips.words.reshape(len(clips), -1) & np.uint64(0xFFFF)
    object = tables.object_phrase_weight * tables.object[query].astype(np.float64)[slots].mean(axis=1)
    return object, tables.event[query].astype(np.float64)[clips.event_codes].max(axis=1)


def lost(found: Candidates, scores: np.ndarray, count: int) -> np.ndarray:
    """Clips that are missing though they are better than the last one found."""
    assert found.scores == pytest.approx(scores[found.rows], abs=1e-5)
    assert (np.diff(found.scores) <= 0).all()
    assert len(set(found.rows.tolist())) == len(found) == min(count, len(scores))
    return np.setdiff1d(np.flatnonzero(scores > found.scores[-1] + 1e-5), found.rows)


class TestSample:
    """Libraries large enough for pruning by a sample."""

    @pytest.mark.parametrize("agreement", [1.0, 0.75, 0.0, -0.75, -1.0])
    @pytest.mark.parametrize("count", [10, 300, MANY // 2, MANY, 2 * MANY])
    def test_the_best_are_found_however_the_scores_agree(self, agreement: float, count: int) -> None:
        clips, tables = clips_that_agree(agreement), rising()
        object, event = both(tables, clips)
        assert len(lost(scan(tables, [clips], count)[0], object + event, count)) == 0

    @given(st.integers(0, 2**31), st.floats(-1, 1), st.integers(0, 40), st.integers(1, 500))
    @settings(max_examples=25, deadline=None)
    def test_only_what_the_sample_cannot_foresee_is_left_out(
        self, seed: int, agreement: float, outliers: int, count: int
    ) -> None:
        clips, tables = clips_that_agree(agreement, seed % 7), rising()
        random = np.random.default_rng(seed)
        odd = random.choice(MANY, outliers, replace=False)
        clips.words[clips.starts[odd]] = np.uint64(0x0001_0001_0001_0001 * (CENTROIDS - 1))
        clips.event_codes[odd] = random.integers(0, CENTROIDS, (outliers, 1))
        object, event = both(tables, clips)

        missing = lost(scan(tables, [clips], count)[0], object + event, count)

        stride = MANY // SAMPLED_CLIPS
        sampled_object, sampled_event = scan_module._sample(tables, [clips], [np.ones(MANY, bool)], stride)
        margin = MARGIN * sampled_object.std()
        for clip in missing:
            not_better = sampled_event[0] <= event[clip]
            assert object[clip] > sampled_object[0][not_better].max(initial=-np.inf) + margin - 1e-5

    def test_a_clip_that_no_sampled_one_resembles_may_be_left_out(self) -> None:
        clips, tables = clips_that_agree(1.0), rising(object_phrase_weight=3.0)
        sampled, _ = scan_module._sample(tables, [clips], [np.ones(MANY, bool)], MANY // SAMPLED_CLIPS)
        object, event = both(tables, clips)
        odd = int(np.argmin(event))
        assert object[odd] not in sampled
        clips.words[clips.starts[odd] : clips.starts[odd + 1]] = np.uint64(
            0x0001_0001_0001_0001 * (CENTROIDS - 1)
        )
        object, event = both(tables, clips)
        assert odd in ranked(object + event, 1000)
        assert lost(scan(tables, [clips], 1000)[0], object + event, 1000).tolist() == [odd]

    def test_many_sentences_and_a_mask(self) -> None:
        clips, tables = clips_that_agree(0.8), rising(3)
        tables.object[1] = tables.event[1] = tables.object[0][::-1]
        tables.object[2] = tables.event[2] = 1 - abs(tables.object[0] - 0.4)
        allowed = np.random.default_rng(2).uniform(size=MANY) < 0.9
        found = scan(tables, [clips], 50, [allowed])
        for query in range(3):
            scores = np.where(allowed, sum(both(tables, clips, query)), -np.inf)
            assert allowed[found[query].rows].all()
            assert len(lost(found[query], scores, 50)) == 0

    def test_a_mask_that_leaves_few(self) -> None:
        clips, tables = clips_that_agree(0.8), rising()
        allowed = np.zeros(MANY, dtype=bool)
        allowed[::1000] = True
        found = scan(tables, [clips], 50, [allowed])[0]
        assert sorted(found.rows.tolist()) == np.flatnonzero(allowed).tolist()

    @pytest.mark.parametrize("weight", [0.0, 1.5])
    def test_without_differences_the_first_are_found(self, weight: float) -> None:
        clips = many_clips(np.full((MANY, 3), 700), np.full((MANY, 1), 1234))
        found = scan(rising(object_phrase_weight=weight), [clips], 20)[0]
        assert found.rows.tolist() == list(range(20))

    def test_events_alone(self) -> None:
        clips, tables = clips_that_agree(0.3), rising(object_phrase_weight=0.0)
        object, event = both(tables, clips)
        assert len(lost(scan(tables, [clips], 100)[0], object + event, 100)) == 0

    def test_dead_clips(self) -> None:
        clips = many_clips(np.zeros((MANY, 3), int), np.zeros((MANY, 1), int))
        assert scan(rising(), [clips], 5)[0].scores.tolist() == [0.0] * 5

    def test_a_sample_that_is_better_than_the_rest_costs_a_second_pass(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        clips, tables = clips_that_agree(0.8), rising(2)
        tables.object[1] = tables.event[1] = tables.object[1][::-1]
        true_sample, passes = scan_module._sample, []

        def lucky(*given):  # type: ignore[no-untyped-def]
            object, event = true_sample(*given)
            object[1] += 1
            return object, event

        def counted(thresholds, tables, *given):  # type: ignore[no-untyped-def]
            passes.append(len(tables))
            return scan_above(thresholds, tables, *given)

        scan_above = scan_module._scan_above
        monkeypatch.setattr(scan_module, "_sample", lucky)
        monkeypatch.setattr(scan_module, "_scan_above", counted)
        found = scan(tables, [clips], 40)
        assert passes == [2, 1]
        for query in range(2):
            object, event = both(tables, clips, query)
            assert len(lost(found[query], object + event, 40)) == 0


def test_refined_event_scores_are_those_of_the_8_bit_events(coarse, unpack_codes: Unpack) -> None:  # type: ignore[no-untyped-def]
    books, clips = coarse
    text = queries(2)
    tables = QueryTables.of(text, books, 1.5)
    found = scan(tables, [clips], 50)

    refined = refine(tables, [clips], found)

    for query in range(2):
        assert sorted(refined[query].rows.tolist()) == sorted(found[query].rows.tolist())
        assert (np.diff(refined[query].scores) <= 0).all()
        event = refined[query].event
        assert event is not None
        sentence = tables.sentence[query].astype(np.float64)
        for row, score, part in zip(refined[query].rows, refined[query].scores, event, strict=True):
            object_phrase = tables.object[query][unpack_codes(clips, row)].max(axis=1).mean()
            directions = clips.event[row] * clips.event_scales[row][:, None].astype(np.float64)
            assert part == pytest.approx((directions @ sentence).max(), abs=1e-4)
            assert score == pytest.approx(1.5 * object_phrase + part, abs=1e-4)
