"""The codes of clips: what the scan reads in place of prototypes.

A prototype is replaced by the number of its nearest centroid. Only the different codes of a slot are kept, four to a
64-bit word, so frames that look alike take no space, and a slot of twelve frames is read in at most three loads.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from prost.search.codebook import Codebook
from prost.search.quantise import quantise

CODES_A_WORD = 4


@dataclass(frozen=True)
class Codebooks:
    """The codebooks of one library: one for object prototypes, one for event prototypes."""

    object: Codebook
    event: Codebook


@dataclass(frozen=True, kw_only=True)
class CodedClips:
    """The codes of n clips.

    Attributes:
        words: object codes, four to a word `[W]`. The slots of a clip follow one another, and each takes the same
            number of words.
        starts: place of each clip's first word, and W at the end `[n + 1]`.
        event_codes: `[n, N_e]`.
        event: directions of the event prototypes in 8 bits `[n, N_e, D]`.
        event_scales: `[n, N_e]`; `event_scales[..., None] * event` has length one, or zero for a zero vector.
        slots: N_o.
    """

    words: NDArray[np.uint64]
    starts: NDArray[np.int64]
    event_codes: NDArray[np.uint16]
    event: NDArray[np.int8]
    event_scales: NDArray[np.float32]
    slots: int

    def __len__(self) -> int:
        return len(self.event_codes)

    def __getitem__(self, rows: slice) -> CodedClips:
        """Neighbouring clips; their codes are not copied."""
        first, last, _ = rows.indices(len(self))
        last = max(first, last)
        begin, end = self.starts[first], self.starts[last]
        return CodedClips(
            words=self.words[begin:end],
            starts=self.starts[first : last + 1] - begin,
            event_codes=self.event_codes[first:last],
            event=self.event[first:last],
            event_scales=self.event_scales[first:last],
            slots=self.slots,
        )

    @classmethod
    def joined(cls, parts: Sequence[CodedClips]) -> CodedClips:
        """The clips of one or more parts, part after part."""
        before = np.cumsum([0, *(len(part.words) for part in parts)])
        starts = [part.starts[:-1] + words for part, words in zip(parts, before[:-1], strict=True)]
        return cls(
            words=np.concatenate([part.words for part in parts]),
            starts=np.concatenate([*starts, before[-1:]]),
            event_codes=np.concatenate([part.event_codes for part in parts]),
            event=np.concatenate([part.event for part in parts]),
            event_scales=np.concatenate([part.event_scales for part in parts]),
            slots=parts[0].slots,
        )


def pack_codes(codes: NDArray[np.integer]) -> tuple[NDArray[np.uint64], NDArray[np.int64]]:
    """Keep the different codes of each slot, four to a word.

    All slots of a clip take as many words as its most varied slot needs, so one loop serves them all. Unused places
    repeat a code of the slot, which changes no maximum.

    Args:
        codes: `[n, L, N_o]`, below 2**16.

    Returns:
        words `[W]` and starts `[n + 1]`, as in `CodedClips`.
    """
    clips, frames, slots = codes.shape
    ordered = np.sort(codes.astype(np.uint16).transpose(0, 2, 1), axis=2)  # [n, N_o, L]
    first = np.ones(ordered.shape, dtype=bool)
    first[:, :, 1:] = ordered[:, :, 1:] != ordered[:, :, :-1]
    different = first.sum(axis=2)  # [n, N_o]
    words = -(-different.max(axis=1, initial=1) // CODES_A_WORD)  # [n]
    most = -(-frames // CODES_A_WORD) * CODES_A_WORD
    packed = np.repeat(ordered[:, :, :1], most, axis=2)  # [n, N_o, most]
    clip, slot, _ = np.nonzero(first)
    packed[clip, slot, (np.cumsum(first, axis=2) - 1)[first]] = ordered[first]
    starts = np.zeros(clips + 1, dtype=np.int64)
    np.cumsum(words * slots, out=starts[1:])
    as_words = packed.view(np.uint64)  # [n, N_o, most / 4]
    kept = np.arange(most // CODES_A_WORD) < words[:, None]  # [n, most / 4]
    return as_words[np.broadcast_to(kept[:, None], as_words.shape)], starts


def event_directions(event: NDArray[np.float32]) -> tuple[NDArray[np.int8], NDArray[np.float32]]:
    """The directions of event prototypes in 8 bits.

    Args:
        event: event prototypes `[n, N_e, D]`, of any length.

    Returns:
        `event` and `event_scales`, as in `CodedClips`.
    """
    codes, _ = quantise(event)
    lengths = np.linalg.norm(codes.astype(np.float32), axis=-1)
    return codes, np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)


def code_clips(
    codebooks: Codebooks, object: NDArray[np.int8] | NDArray[np.float32], event: NDArray[np.float32]
) -> tuple[CodedClips, NDArray[np.float64]]:
    """Code clips.

    Args:
        codebooks: of their library.
        object: object prototypes `[n, L, N_o, D]`, of any length, so 8-bit codes do not need their scales.
        event: event prototypes `[n, N_e, D]`, of any length.

    Returns:
        the coded clips; and two sums of 1 - cosine between a prototype and its centroid, over the object and over
        the event prototypes.
    """
    width = event.shape[-1]
    (codes, cosines), (event_codes, event_cosines) = (
        book.assign(torch.from_numpy(np.require(vectors, requirements="W")).reshape(-1, width))
        for book, vectors in ((codebooks.object, object), (codebooks.event, event))
    )
    words, starts = pack_codes(codes.view(object.shape[:-1]).numpy())
    directions, scales = event_directions(event)
    clips = CodedClips(
        words=words,
        starts=starts,
        event_codes=event_codes.view(event.shape[:-1]).numpy().astype(np.uint16),
        event=directions,
        event_scales=scales,
        slots=object.shape[2],
    )
    errors = [float((1 - cosine.double()).sum()) for cosine in (cosines, event_cosines)]
    return clips, np.array(errors)
