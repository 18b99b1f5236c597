"""Exact scores of clips from their 8-bit prototypes, by the formula of the model's matching.

A cosine does not change when a vector is scaled, so the scales of the 8-bit prototypes are not needed: a
code divided by its length is the normalised prototype, and lengths are computed once for many queries.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, fields

import numba
import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.model.matching import TextPrototypes, event_sentence_score, unit

# Codes turned to floats at once: 2**22 floats are 16 MiB, which a processor's cache can still help with.
FLOATS_AT_ONCE = 2**22


@dataclass(frozen=True)
class ClipPrototypes:
    """What n clips are matched by.

    Attributes:
        object_codes: 8-bit object prototypes `[n, L, N_o, D]`, int8.
        inverse_lengths: one over the length of each code vector `[n, L, N_o]`, 0 for a zero vector.
        event: event prototypes `[n, N_e, D]`, of any length.
    """

    object_codes: Tensor
    inverse_lengths: Tensor
    event: Tensor

    @classmethod
    def of(cls, object_codes: NDArray[np.int8], event: NDArray[np.float32]) -> ClipPrototypes:
        """Wrap arrays, without a copy, and compute the lengths."""
        vectors = object_codes.reshape(-1, object_codes.shape[-1])
        inverse_lengths = torch.from_numpy(_inverse_lengths(vectors)).view(object_codes.shape[:-1])
        return cls(torch.from_numpy(object_codes), inverse_lengths, torch.from_numpy(event))

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: Tensor) -> ClipPrototypes:
        return ClipPrototypes(self.object_codes[rows], self.inverse_lengths[rows], self.event[rows])


@dataclass(frozen=True)
class ClipScores:
    """Scores of n clips for one sentence, each `[n]`, on the scale of cosines."""

    total: NDArray[np.float32]
    object_phrase: NDArray[np.float32]
    event_sentence: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[ClipScores]) -> ClipScores:
        """Scores of clips one after another; of no parts, of no clips."""
        names = [part.name for part in fields(cls)]
        none = np.empty(0, dtype=np.float32)
        return cls(*(np.concatenate([none, *(getattr(part, name) for part in parts)]) for name in names))

    def __getitem__(self, places: slice | NDArray) -> ClipScores:
        return ClipScores(self.total[places], self.object_phrase[places], self.event_sentence[places])


def score(text: TextPrototypes, clips: ClipPrototypes, object_phrase_weight: float) -> ClipScores:
    """Score one sentence against clips: `prost.model.matching.match`, on 8-bit prototypes.

    Args:
        text: prototypes of one sentence, on the CPU.
        clips: prototypes of n clips.
        object_phrase_weight: of the model's configuration.
    """
    phrases = unit(text.phrase[0]).T.contiguous()  # [D, N_p]
    object_phrase = torch.empty(len(clips))
    for rows in _blocks(clips.object_codes):
        codes = clips.object_codes[rows].float()  # [b, L, N_o, D]
        # Lengths are positive: the best phrase of a prototype is the same before and after dividing by its
        # length.
        best = (codes @ phrases).amax(dim=-1) * clips.inverse_lengths[rows]  # [b, L, N_o]
        object_phrase[rows] = best.amax(dim=1).mean(dim=1)
    event_sentence = event_sentence_score(text.sentence, clips.event)[0]
    total = event_sentence + object_phrase_weight * object_phrase
    return ClipScores(total.numpy(), object_phrase.numpy(), event_sentence.numpy())


@numba.njit(nogil=True, cache=True, error_model="numpy")
def _inverse_lengths(codes):  # type: ignore[no-untyped-def]
    """One over the length of each row of `[n, D]` int8, 0 for zero rows; no floats are made of the codes."""
    inverse = np.zeros(len(codes), dtype=np.float32)
    for row in range(len(codes)):
        square = np.int32(0)
        for component in range(codes.shape[1]):
            code = np.int32(codes[row, component])
            square += code * code
        if square > 0:
            inverse[row] = np.float32(1 / np.sqrt(square))
    return inverse


def _blocks(codes: Tensor) -> list[slice]:
    """Slices of clips that are small enough to become floats."""
    clip_floats = max(1, codes[:1].numel())
    step = max(1, FLOATS_AT_ONCE // clip_floats)
    return [slice(first, first + step) for first in range(0, len(codes), step)]
