"""Near-duplicates: one film in several files of other sizes, containers or codecs.

Files with equal bytes share their clips already. Two other files are taken for one film if they have the same duration
and show the same in every frame: the cosine of the class tokens of the frames (object slot 0) is above a threshold in
every frame of every clip compared. The mean over frames is not enough, because the same scene with two events swapped
agrees in most frames.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from prost.search.fragments import column_array
from prost.search.hits import Hit
from prost.search.records import VideoRow
from prost.search.snapshot import StoredClip
from prost.search.storage_errors import storage_errors
from prost.search.store import Store

# Measured on Toybox with the bundled model. 16 films against strongly compressed copies in other sizes, containers and
# codecs: the cosine of the worst frame is 0.974 or more. 1,524 pairs of different films: it is 0.901 or less.
SAME_FRAME = 0.94

# Copies in other containers differ by a frame or so; a share covers clocks that were rounded.
SAME_DURATION_SECONDS, SAME_DURATION_SHARE = 0.25, 0.005

# Clips asked for by one filter, and rows of Lance in memory at a time.
KEYS_AT_ONCE, ROWS_AT_ONCE = 500, 64

# Videos whose first clips are compared at once: a block of cosines of this many squared.
BLOCK = 2048


def same_duration(one: float, other: float) -> bool:
    """Whether two durations (seconds) can be those of one film.

    >>> same_duration(10.0, 10.2), same_duration(10.0, 10.4), same_duration(3600.0, 3610.0)
    (True, False, True)
    """
    return abs(one - other) <= max(SAME_DURATION_SECONDS, SAME_DURATION_SHARE * max(one, other))


def same_frames(one: NDArray[np.float32], other: NDArray[np.float32]) -> bool:
    """Whether two clips show the same in every frame.

    Args:
        one: class tokens of the clip's frames `[L, D]`, of any length.
        other: those of the other clip `[L, D]`.
    """
    return bool(_lowest_cosine(_unit(one)[None], _unit(other)[None])[0, 0] >= SAME_FRAME)


@dataclass(frozen=True, kw_only=True)
class Film:
    """What films are compared by.

    Attributes:
        content: hash of the file's content.
        duration: seconds.
        clips: number of clips.
        first: class tokens of the first clip's frames `[L, D]`.
    """

    content: str
    duration: float
    clips: int
    first: NDArray[np.float32]


def group_films(
    films: Sequence[Film], class_tokens: Callable[[int, int], NDArray[np.float32]]
) -> list[list[int]]:
    """Groups of two or more near-duplicates, as places in `films`, in their order.

    The first clips of all films of the same duration are compared. Where they agree, the middle and the last clip are
    compared as well.

    Args:
        films: to compare.
        class_tokens: gives the class tokens `[L, D]` of a clip, from the place of its film and its position there.
    """
    leader = np.arange(len(films))
    order = sorted(range(len(films)), key=lambda place: films[place].duration)
    tokens = (
        np.stack([_unit(films[place].first) for place in order]) if films else np.zeros((0, 1, 1), np.float32)
    )
    for start in range(0, len(order), BLOCK):
        for other in range(start, len(order), BLOCK):
            longest = films[order[min(start + BLOCK, len(order)) - 1]].duration
            if other > start and not same_duration(longest, films[order[other]].duration):
                break
            lowest = _lowest_cosine(tokens[start : start + BLOCK], tokens[other : other + BLOCK])
            for row, column in np.argwhere(lowest >= SAME_FRAME):
                one, two = order[start + row], order[other + column]
                low, high = sorted((_root(leader, one), _root(leader, two)))
                if low != high and _same(films, one, two, class_tokens):
                    leader[high] = low
    groups: dict[int, list[int]] = {}
    for place in range(len(films)):
        groups.setdefault(_root(leader, place), []).append(place)
    return [group for group in groups.values() if len(group) > 1]


def near_duplicates(store: Store, videos: Sequence[VideoRow]) -> list[list[VideoRow]]:
    """Groups of two or more indexed videos of one library that are one film, copies with equal bytes included.

    Args:
        store: the library.
        videos: the videos to compare; failed ones are left out.
    """
    copies: dict[str, list[VideoRow]] = {}
    for video in videos:
        if video.indexed and video.content is not None:
            copies.setdefault(video.content, []).append(video)
    tokens = _ClassTokens(store)
    tokens.read([f"{content}:0" for content in copies])
    films = [_film(same[0], tokens) for same in copies.values()]
    groups = group_films(films, lambda film, clip: tokens.of(films[film].content, clip))
    joined = [[video for film in group for video in copies[films[film].content]] for group in groups]
    grouped = {films[film].content for group in groups for film in group}
    return joined + [same for content, same in copies.items() if len(same) > 1 and content not in grouped]


def collapse(hits: Sequence[Hit], clips: Sequence[Sequence[StoredClip]]) -> list[Hit]:
    """Leave out hits that are the film of a better hit; that hit names their files in `near_duplicates`.

    Two hits are compared by the clips that both were found by. This reads nothing beyond what the hits were made of.

    Args:
        hits: best first.
        clips: for each hit the clips that it was made of.
    """
    kept: list[int] = []
    names: dict[int, list[str]] = {}
    for place, hit in enumerate(hits):
        better = next((each for each in kept if _same_hit(hits[each], hit, clips[each], clips[place])), None)
        if better is None:
            kept.append(place)
        else:
            names.setdefault(better, []).extend((hit.path, *hit.copies))
    return [replace(hits[place], near_duplicates=tuple(names.get(place, ()))) for place in kept]


def _same_hit(one: Hit, other: Hit, clips: Sequence[StoredClip], other_clips: Sequence[StoredClip]) -> bool:
    if not same_duration(one.duration, other.duration) or one.video.clips != other.video.clips:
        return False
    shared = [
        (clip.object[:, 0], match.object[:, 0])
        for clip in clips
        for match in other_clips
        # Several tiles of one window start at once; they differ by their position among the clips.
        if _position(clip) == _position(match) and abs(clip.start - match.start) <= SAME_DURATION_SECONDS
    ]
    return bool(shared) and all(same_frames(*pair) for pair in shared)


def _position(clip: StoredClip) -> str:
    """Position among the clips of the video, as its key has it."""
    return clip.key.rpartition(":")[2]


class _ClassTokens:
    """Class tokens of clips, read from the library by the clips' keys."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._read: dict[str, NDArray[np.int8]] = {}

    def of(self, content: str, clip: int) -> NDArray[np.float32]:
        """Those of one clip `[L, D]`, up to a scale for each; zeros, which match nothing, where it has been removed."""
        key = f"{content}:{clip}"
        if key not in self._read:
            self.read([key])
        if key not in self._read:
            sizes = self._store.description.sizes
            return np.zeros((sizes.frames, sizes.width), np.float32)
        return self._read[key].astype(np.float32)

    def read(self, keys: Sequence[str]) -> None:
        """Read those of many clips at once."""
        for first in range(0, len(keys), KEYS_AT_ONCE):
            listed = ", ".join(f"'{key}'" for key in keys[first : first + KEYS_AT_ONCE])
            with storage_errors(self._store.root):
                scanner = self._store.clips().scanner(
                    columns=["key", "object_codes"], filter=f"key IN ({listed})", batch_size=ROWS_AT_ONCE
                )
                for batch in scanner.to_batches():
                    codes = column_array(batch, "object_codes", self._store.description.sizes)
                    # A copy, so that the other slots can be freed.
                    self._read.update(zip(batch["key"].to_pylist(), codes[:, :, 0].copy(), strict=True))


def _film(video: VideoRow, tokens: _ClassTokens) -> Film:
    assert video.content is not None
    return Film(
        content=video.content,
        duration=video.duration or 0.0,
        clips=video.clips,
        first=tokens.of(video.content, 0),
    )


def _same(
    films: Sequence[Film], one: int, two: int, class_tokens: Callable[[int, int], NDArray[np.float32]]
) -> bool:
    if not same_duration(films[one].duration, films[two].duration) or films[one].clips != films[two].clips:
        return False
    last = films[one].clips - 1
    return all(
        same_frames(class_tokens(one, position), class_tokens(two, position))
        for position in sorted({last // 2, last} - {0})
    )


def _lowest_cosine(one: NDArray[np.float32], other: NDArray[np.float32]) -> NDArray[np.float32]:
    """The lowest cosine over the frames of two clips, for all pairs `[n, m]` of unit `[n, L, D]` and `[m, L, D]`."""
    lowest = np.ones((len(one), len(other)), np.float32)
    for frame in range(one.shape[1]):
        np.minimum(lowest, one[:, frame] @ other[:, frame].T, out=lowest)
    return lowest


def _unit(vectors: NDArray[np.float32]) -> NDArray[np.float32]:
    vectors = np.asarray(vectors, np.float32)
    return vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-12)


def _root(leader: NDArray[np.intp], place: int) -> int:
    while leader[place] != place:
        place = int(leader[place])
    return place
