"""Every fragment has one owner, and no part is larger than an equal share by more than one fragment."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from prost.search.parts import Part, divide, useful_parts

SIZES = st.lists(st.integers(0, 5000), max_size=60)


@given(SIZES, st.integers(1, 9))
def test_each_fragment_belongs_to_one_part_and_order_is_kept(sizes: list[int], count: int) -> None:
    parts = divide(sizes, count)
    assert len(parts) == count
    assert [place for part in parts for place in range(len(sizes))[part]] == list(range(len(sizes)))
    assert [Part(number=number, count=count).owned(sizes) for number in range(count)] == parts


@given(SIZES, st.integers(1, 9))
def test_parts_differ_from_an_equal_share_by_at_most_the_largest_fragment(
    sizes: list[int], count: int
) -> None:
    for part in divide(sizes, count):
        assert abs(sum(sizes[part]) - sum(sizes) / count) <= max(sizes, default=0)


@given(st.lists(st.integers(1, 100), min_size=20, max_size=60), st.integers(2, 5))
def test_a_new_fragment_moves_few_others(sizes: list[int], count: int) -> None:
    def owners(clips: list[int]) -> list[int]:
        return [number for number, part in enumerate(divide(clips, count)) for _ in range(len(clips))[part]]

    before, after = owners(sizes), owners([*sizes, 1])
    moved = sum(one != other for one, other in zip(before, after, strict=False))
    # Each border moves by less than one clip, so past the middle of one fragment at most.
    assert moved <= count - 1


@given(SIZES, st.integers(1, 9))
def test_useful_parts_all_have_clips_and_more_parts_would_not(sizes: list[int], most: int) -> None:
    count = useful_parts(sizes, most)
    assert 1 <= count <= most
    with_clips = {n: all(sum(sizes[part]) for part in divide(sizes, n)) for n in range(1, most + 1)}
    assert with_clips[count] or not sum(sizes)
    assert not any(with_clips[n] for n in range(count + 1, most + 1))
