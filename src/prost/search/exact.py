"""Exact scores of clips from their 8-bit prototypes: `prost.model.matching` on the codes of a library.

A cosine does not change when a vector is scaled, so the scales of the 8-bit prototypes are not needed: a code
divided by its length is the normalised prototype. The lengths are computed once for many queries.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from dataclasses import dataclass, fields

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.config import MatchingRule
from prost.model.matching import TextPrototypes, event_sentence_score
from prost.model.object_phrase import object_phrase_score

# The compiled kernel saves about 30 ns a row, and loading it the first time takes nearly a second. So it is used where
# the scan has loaded it already, or where there are so many rows that loading it pays.
KERNELS = "prost.search.scan_kernels"
LOADING_PAYS = 2**25
BLOCK = 512
# The rules of matching that `score` and the tables of the scan compute.
SEARCHED_RULES: tuple[MatchingRule, ...] = ("best_cosine",)


@dataclass(frozen=True, kw_only=True)
class ClipPrototypes:
    """Stored prototypes of n clips.

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
        return cls(
            object_codes=torch.from_numpy(object_codes),
            inverse_lengths=inverse_lengths,
            event=torch.from_numpy(event),
        )

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: Tensor) -> ClipPrototypes:
        return ClipPrototypes(
            object_codes=self.object_codes[rows],
            inverse_lengths=self.inverse_lengths[rows],
            event=self.event[rows],
        )


@dataclass(frozen=True, kw_only=True)
class ClipScores:
    """Scores of n clips for one sentence, each `[n]`, on the scale of cosines."""

    total: NDArray[np.float32]
    object_phrase: NDArray[np.float32]
    event_sentence: NDArray[np.float32]

    @classmethod
    def joined(cls, parts: Sequence[ClipScores]) -> ClipScores:
        """Concatenate scores; no parts give the scores of no clips."""
        none = np.empty(0, dtype=np.float32)
        return cls(
            **{
                part.name: np.concatenate([none, *(getattr(each, part.name) for each in parts)])
                for part in fields(cls)
            }
        )

    def __getitem__(self, places: slice | NDArray) -> ClipScores:
        return ClipScores(
            total=self.total[places],
            object_phrase=self.object_phrase[places],
            event_sentence=self.event_sentence[places],
        )


@torch.no_grad()
def score(text: TextPrototypes, clips: ClipPrototypes, object_phrase_weight: float) -> ClipScores:
    """Score one sentence against clips, as `prost.model.matching.match` does, from 8-bit prototypes.

    Args:
        text: prototypes of one sentence, on the CPU.
        clips: prototypes of n clips.
        object_phrase_weight: from the model's configuration.
    """
    object_phrase = object_phrase_score(
        text.phrase, clips.object_codes, inverse_lengths=clips.inverse_lengths
    )[0]
    event_sentence = event_sentence_score(text.sentence, clips.event)[0]
    total = event_sentence + object_phrase_weight * object_phrase
    return ClipScores(
        total=total.numpy(), object_phrase=object_phrase.numpy(), event_sentence=event_sentence.numpy()
    )


@torch.no_grad()
def total_scores(
    text: TextPrototypes, clips: ClipPrototypes, object_phrase_weight: float
) -> NDArray[np.float32]:
    """Similarity of Q sentences to n clips `[Q, n]`; see `score`.

    Args:
        text: prototypes of the sentences, on the CPU.
        clips: prototypes of the clips.
        object_phrase_weight: from the model's configuration.
    """
    object_phrase = object_phrase_score(
        text.phrase, clips.object_codes, inverse_lengths=clips.inverse_lengths
    )
    scores: NDArray[np.float32] = (
        event_sentence_score(text.sentence, clips.event) + object_phrase_weight * object_phrase
    ).numpy()
    return scores


def _inverse_lengths(codes: NDArray[np.int8]) -> NDArray[np.float32]:
    """One over the length of each row of `[n, D]`, 0 for zero rows."""
    if len(codes) >= LOADING_PAYS or KERNELS in sys.modules:
        from prost.search.scan_kernels import inverse_lengths

        return inverse_lengths(codes)
    lengths = np.empty(len(codes), dtype=np.float32)
    block = np.empty((BLOCK, codes.shape[1]), dtype=np.float32)  # stays in the processor's cache
    for first in range(0, len(codes), BLOCK):
        part = codes[first : first + BLOCK]
        vectors = block[: len(part)]
        np.copyto(vectors, part)
        np.einsum("nd,nd->n", vectors, vectors, out=lengths[first : first + BLOCK])
    np.sqrt(lengths, out=lengths)
    return np.divide(1, lengths, out=np.zeros_like(lengths), where=lengths > 0)
