"""Codes of clips keep what the scan needs."""

from collections.abc import Callable

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from prost.search.codebook import train_codebook
from prost.search.codes import Codebooks, CodedClips, code_clips, event_directions, pack_codes

Unpack = Callable[[CodedClips, int], np.ndarray]
WIDTH = 16


@pytest.fixture(scope="module")
def prototypes() -> tuple[np.ndarray, np.ndarray]:
    """Object and event prototypes of 20 clips, some of them zero vectors."""
    random = np.random.default_rng(0)
    object, event = (random.normal(size=(20, *shape, WIDTH)) for shape in ((6, 3), (2,)))
    object[::5, :, 1] = 0
    event[9, 1] = 0
    return object.astype(np.float32), event.astype(np.float32)


@pytest.fixture(scope="module")
def books(prototypes: tuple[np.ndarray, np.ndarray]) -> Codebooks:
    return Codebooks(*(train_codebook(torch.from_numpy(each).reshape(-1, WIDTH), 24) for each in prototypes))


def test_the_errors_are_sums_of_one_minus_cosine(books: Codebooks, prototypes) -> None:  # type: ignore[no-untyped-def]
    _, errors = code_clips(books, *prototypes)
    for error, book, vectors in zip(errors, (books.object, books.event), prototypes, strict=True):
        cosines = book.assign(torch.from_numpy(vectors).reshape(-1, WIDTH))[1]
        assert error == pytest.approx(float((1 - cosines.double()).sum()))
        assert error > 1


def test_parts_joined_are_the_whole(books: Codebooks, prototypes, unpack_codes: Unpack) -> None:  # type: ignore[no-untyped-def]
    clips, _ = code_clips(books, *prototypes)
    joined = CodedClips.joined([clips[:7], clips[7:7], clips[7:]])
    assert len(joined) == len(clips) == 20
    for clip in range(20):
        assert unpack_codes(joined, clip).tolist() == unpack_codes(clips, clip).tolist()
    assert joined.event_codes.tolist() == clips.event_codes.tolist()
    assert joined.event.tolist() == clips.event.tolist()
    assert joined.event_scales.tolist() == clips.event_scales.tolist()


def test_event_directions_have_length_one_or_zero(prototypes) -> None:  # type: ignore[no-untyped-def]
    event = prototypes[1]
    codes, scales = event_directions(event)
    directions = codes * scales[..., None]
    expected = np.ones((20, 2))
    expected[9, 1] = 0
    assert np.linalg.norm(directions, axis=-1) == pytest.approx(expected)
    lengths = np.maximum(np.linalg.norm(event, axis=-1, keepdims=True), 1e-9)
    assert directions == pytest.approx(event / lengths, abs=0.01)


class TestPackCodes:
    def test_a_worked_case(self) -> None:
        # Two slots of six frames: one shows five different codes, so both take two words.
        codes = np.array([[[7, 1], [7, 2], [7, 3], [7, 4], [9, 5], [7, 1]]])
        words, starts = pack_codes(codes)
        assert starts.tolist() == [0, 4]
        slots = words.reshape(2, 2).view(np.uint16)
        assert slots.tolist() == [[7, 9, 7, 7, 7, 7, 7, 7], [1, 2, 3, 4, 5, 1, 1, 1]]

    def test_frames_that_look_alike_take_no_space(self) -> None:
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
