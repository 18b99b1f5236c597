"""An approximate nearest-neighbour index over event prototypes, as the paper proposes for large scale.

Only the event-sentence score chooses the candidates, which are then scored by the exact formula. A search visits a
small part of the library, and misses clips that only the object-phrase score would have found. It is meant for tens of
millions of clips, where the scan takes too long.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.errors import UsageError, install_extra
from prost.model.matching import TextPrototypes
from prost.model.vectors import unit
from prost.search.candidates import Candidates
from prost.search.codes import CodedClips

HNSW, IVF_PQ = "hnsw", "ivf-pq"
KINDS = (HNSW, IVF_PQ)

# HNSW (Malkov & Yashunin 2018): neighbours of a node, and the smallest number of nodes that a search keeps.
NEIGHBOURS = 32
WATCHED_WHEN_BUILT = 80
WATCHED = 64
SCALE_TRAINING = 2**16
# IVF-PQ (Jégou, Douze & Schmid 2011): lists, bytes of a vector, lists that a search visits (a minimum and a fraction),
# and vectors to train on. A library with fewer vectors than WHOLE_BYTES_FROM gets half bytes.
LISTS_A_ROOT = 4
BYTES_A_VECTOR = 32
VISITED_LISTS, VISITED_SHARE = 16, 16
TRAINING_A_LIST = 64
WHOLE_BYTES_FROM = 40 * 2**8
CLIPS_AT_ONCE = 2**14


class EventIndex:
    """An index over the event prototypes of clips.

    Args:
        kind: `hnsw` or `ivf-pq`.
        index: of faiss.
    """

    def __init__(self, kind: str, index: Any) -> None:
        self.kind = kind
        self._index = index

    @classmethod
    def build(cls, kind: str, clips: Sequence[CodedClips]) -> EventIndex:
        """Index the 8-bit events of clips, part after part.

        Raises:
            UsageError: an unknown kind, no clips, or faiss is not installed.
        """
        count = sum(map(len, clips))
        if kind not in KINDS or count == 0:
            raise UsageError(
                f"an index of kind {kind!r} over {count} clips", "hnsw or ivf-pq, over some clips"
            )
        faiss = _faiss()
        events, width = clips[0].event.shape[1:]
        if kind == HNSW:
            index = faiss.IndexHNSWSQ(
                width, faiss.ScalarQuantizer.QT_8bit, NEIGHBOURS, faiss.METRIC_INNER_PRODUCT
            )
            index.hnsw.efConstruction = WATCHED_WHEN_BUILT
            training = SCALE_TRAINING
        else:
            lists = max(1, min(int(LISTS_A_ROOT * np.sqrt(count * events)), count * events // 40))
            pieces = max(
                divisor for divisor in range(1, min(BYTES_A_VECTOR, width) + 1) if width % divisor == 0
            )
            bits = 8 if count * events >= WHOLE_BYTES_FROM else 4
            index = faiss.IndexIVFPQ(
                faiss.IndexFlatIP(width), width, lists, pieces, bits, faiss.METRIC_INNER_PRODUCT
            )
            index.nprobe = min(lists, max(VISITED_LISTS, lists // VISITED_SHARE))
            for clustering in (index.cp, index.pq.cp):
                clustering.min_points_per_centroid = (
                    1  # so that faiss prints no warning about a small library
                )
            training = TRAINING_A_LIST * max(lists, 2**bits)
        index.train(_sample(clips, training))
        for part in clips:
            for first in range(0, len(part), CLIPS_AT_ONCE):
                rows = slice(first, first + CLIPS_AT_ONCE)
                index.add(_directions(part.event[rows], part.event_scales[rows]))
        return cls(kind, index)

    @classmethod
    def from_bytes(cls, kind: str, data: NDArray[np.uint8]) -> EventIndex:
        """An index that `to_bytes` wrote."""
        return cls(kind, _faiss().deserialize_index(np.array(data)))

    def to_bytes(self) -> NDArray[np.uint8]:
        """As it is stored."""
        return _faiss().serialize_index(self._index)

    def find(self, text: TextPrototypes, count: int, allowed: NDArray[np.bool_]) -> Candidates:
        """The clips whose events are nearest to one sentence.

        Args:
            text: prototypes of the sentence, on the CPU.
            count: clips at most.
            allowed: the clips that may be found `[n]`.
        """
        faiss = _faiss()
        events = self._index.ntotal // max(1, len(allowed))
        wanted = min(count * events, self._index.ntotal)
        selector = faiss.IDSelectorBitmap(np.packbits(np.repeat(allowed, events), bitorder="little"))
        if self.kind == HNSW:
            parameters = faiss.SearchParametersHNSW(sel=selector, efSearch=max(WATCHED, wanted))
        else:
            parameters = faiss.SearchParametersIVF(sel=selector, nprobe=self._index.nprobe)
        cosines, found = self._index.search(unit(text.sentence).numpy(), wanted, params=parameters)
        there = found[0] >= 0
        # Events are ordered best first, so the first of a clip's events gives its event-sentence score.
        clips, first = np.unique(found[0][there] // events, return_index=True)
        return Candidates(clips.astype(np.int64), cosines[0][there][first]).best(count)


def _directions(event: NDArray[np.int8], scales: NDArray[np.float32]) -> NDArray[np.float32]:
    """Event prototypes of length one, clip after clip `[n * N_e, D]`."""
    return (event.astype(np.float32) * scales[:, :, None]).reshape(-1, event.shape[2])


def _sample(clips: Sequence[CodedClips], vectors: int) -> NDArray[np.float32]:
    """About `vectors` event prototypes, evenly from all clips."""
    count, events = sum(map(len, clips)), clips[0].event.shape[1]
    step = max(1, count * events // vectors)
    return np.concatenate([_directions(part.event[::step], part.event_scales[::step]) for part in clips])


def _faiss() -> Any:
    """Faiss, which is an optional dependency because most libraries are scanned."""
    try:
        import faiss
    except ImportError:
        raise UsageError(
            "an index over event prototypes needs faiss, which is not installed",
            "coarse='scan' or coarse='exact'",
            install_extra("index"),
        ) from None
    return faiss
