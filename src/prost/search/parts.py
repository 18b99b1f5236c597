"""Parts of a library: consecutive fragments of its clips table, about equally many clips in each.

Which fragments a part owns follows from one version of the table alone, so everybody who knows the version and the
number of parts agrees on it without asking. Parts are runs of the table's order: a new fragment at its end moves the
borders a little, and most fragments stay where they are.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise


@dataclass(frozen=True, kw_only=True)
class Part:
    """One of the parts that a library is divided into.

    Attributes:
        number: of the part, from 0.
        count: of all parts.
    """

    number: int
    count: int

    def owned(self, clips: Sequence[int]) -> slice:
        """The fragments of this part, as a run of the table's order; see `divide`."""
        return divide(clips, self.count)[self.number]


def divide(clips: Sequence[int], count: int) -> list[slice]:
    """Divide fragments into runs of about equally many clips.

    A fragment belongs to the part in whose share of all clips its middle lies. So the clips of a part differ from an
    equal share by at most those of the largest fragment.

    Args:
        clips: number of clips of each fragment, in the table's order.
        count: number of parts.

    >>> divide([10, 10, 10, 30], 2)
    [slice(0, 3, None), slice(3, 4, None)]
    >>> divide([5], 2)
    [slice(0, 0, None), slice(0, 1, None)]
    """
    total = sum(clips)
    ends = list(accumulate(clips))
    # Twice the middle of each fragment, in whole clips; without clips all fragments are of the first part.
    numbers = [
        (2 * end - size) * count // (2 * total) if total else 0 for end, size in zip(ends, clips, strict=True)
    ]
    numbers = [min(number, count - 1) for number in numbers]
    borders = [sum(number < part for number in numbers) for part in range(count + 1)]
    return [slice(first, last) for first, last in pairwise(borders)]


def useful_parts(clips: Sequence[int], most: int) -> int:
    """The largest number of parts, up to `most`, of which each has a clip; 1 where there are no clips.

    Args:
        clips: as for `divide`.
        most: 1 or more.

    >>> useful_parts([10, 10, 10, 30], 8), useful_parts([10, 10, 10, 30], 2), useful_parts([], 8)
    (3, 2, 1)
    """
    for count in range(min(most, len(clips)), 1, -1):
        if all(sum(clips[owned]) for owned in divide(clips, count)):
            return count
    return 1
