"""The exact best clips of each query, computed from the generator's float prototypes.

Scoring a million clips by matrix products takes 2 * 10^12 operations for each query (L 12, N_o 12, N_p 28, D 256). But
a generated vector is a sum of three known vectors, scaled to length one, and so is its cosine with a phrase:

    <p, v> = (<p, m> + cos(a) <p, own - m> + sin(a) <p, partner - m>) / length of v

The products with the real vectors are computed once for each query. Each vector of a clip then needs two rows of that
table. Every clip is scored, without sampling. The result differs from `prost.match` on the materialised vectors only by
float32 rounding: a test requires less than 1e-5, and every run reports the largest difference (`largest_difference`).
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numba
import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.generator import Blend, Generator, turn
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.model.vectors import unit
from prost.progress import Advance

# Queries whose tables are in memory together; with 3,000 videos of the bundled model each takes 48 MB.
QUERIES_AT_ONCE = 8


@dataclass(frozen=True, kw_only=True)
class ExactAnswers:
    """The best clips of Q queries, best first.

    Attributes:
        rows: `[Q, k]`.
        scores: similarity `[Q, k]`.
    """

    rows: NDArray[np.int64]
    scores: NDArray[np.float32]

    def recall(self, found: list[NDArray[np.int64]]) -> float:
        """Mean fraction of the exact best clips that are among the rows found for a query.

        >>> answers = ExactAnswers(rows=np.array([[4, 2]]), scores=np.zeros((1, 2), np.float32))
        >>> answers.recall([np.array([2, 9])])
        0.5
        """
        shares = [np.isin(best, rows).mean() for best, rows in zip(self.rows, found, strict=True)]
        return float(np.mean(shares))


def answers_file(folder: Path, queries: int, weight: float) -> Path:
    """Where a run keeps the exact answers beside a library."""
    return folder / f"truth-{queries}-weight-{weight:g}.npz"


def find_exact_answers(
    generator: Generator,
    clips: int,
    text: TextPrototypes,
    object_phrase_weight: float,
    count: int,
    progress: Advance,
) -> ExactAnswers:
    """Find the `count` best of the first `clips` clips for each query.

    Args:
        generator: generator of the clips.
        clips: number of clips.
        text: prototypes of Q queries, on the CPU.
        object_phrase_weight: from the model's configuration.
        count: k; at most `clips`.
        progress: called after each block of clips.
    """
    queries = len(text)
    rows, scores = np.empty((queries, count), np.int64), np.empty((queries, count), np.float32)
    for first in range(0, queries, QUERIES_AT_ONCE):
        group = slice(first, min(first + QUERIES_AT_ONCE, queries))
        scorer = RecipeScorer(generator, text[group], object_phrase_weight)
        best_rows = np.empty((group.stop - first, 0), np.int64)
        best_scores = np.empty((group.stop - first, 0), np.float32)
        for block in generator.blocks(clips):
            block_scores = scorer.score(block.object, block.event)  # [q, n]
            block_rows = np.broadcast_to(block.first + np.arange(len(block)), block_scores.shape)
            best_rows = np.concatenate([best_rows, block_rows], axis=1)
            best_scores = np.concatenate([best_scores, block_scores], axis=1)
            order = np.argsort(-best_scores, axis=1, kind="stable")[:, :count]
            best_rows = np.take_along_axis(best_rows, order, axis=1)
            best_scores = np.take_along_axis(best_scores, order, axis=1)
            done = first * clips + (group.stop - first) * (block.first + len(block))
            progress(done, queries * clips, "exact scores")
        rows[group], scores[group] = best_rows, best_scores
    return ExactAnswers(rows=rows, scores=scores)


class RecipeScorer:
    """Exact similarity of q sentences with clips, computed from the recipes of the clips.

    Args:
        generator: generator of the clips.
        text: prototypes of q sentences.
        object_phrase_weight: from the model's configuration.
    """

    def __init__(self, generator: Generator, text: TextPrototypes, object_phrase_weight: float) -> None:
        self._generator = generator
        self._weight = object_phrase_weight
        phrases, sentences = unit(text.phrase), unit(text.sentence)[:, None]
        self._object_tables = _tables(generator.tracks, generator.track_means, phrases.numpy())
        self._event_tables = _tables(generator.events, generator.event_means, sentences.numpy())

    def score(self, object: Blend, event: Blend) -> NDArray[np.float32]:
        """Similarity `[q, n]` with the clips of a block."""
        generator = self._generator
        object_phrase = _best_cosines(*self._object_tables, object, generator.tracks, generator.track_means)
        event_sentence = _best_cosines(*self._event_tables, event, generator.events, generator.event_means)
        # Scores are averaged over slots; for events the maximum counts.
        return event_sentence.max(axis=2).T + self._weight * object_phrase.mean(axis=2).T


def largest_difference(
    generator: Generator, clips: int, text: TextPrototypes, object_phrase_weight: float
) -> float:
    """Largest difference between scores from recipes and scores from materialised prototypes.

    Args:
        generator: generator of the clips.
        clips: number of clips of the first block to compare.
        text: prototypes of queries.
        object_phrase_weight: from the model's configuration.
    """
    block = generator.block(0, clips)
    made = generator.materialise(block)
    video = VideoPrototypes(torch.from_numpy(made.object).transpose(1, 2), torch.from_numpy(made.event))
    plain = match(text, video, object_phrase_weight).total.numpy()
    scores = RecipeScorer(generator, text, object_phrase_weight).score(block.object, block.event)
    return float(np.abs(scores - plain).max())


def _tables(
    tracks: NDArray[np.float32], means: NDArray[np.float32], queries: NDArray[np.float32]
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Products of q x P vectors with the centred tracks, `[V, S, L, q, P]`, and with the means, `[S, q, P]`."""
    count, vectors, width = queries.shape
    flat = torch.from_numpy(queries).reshape(-1, width).T
    of_means = (torch.from_numpy(means) @ flat).numpy()  # [S, q*P]
    of_tracks = (torch.from_numpy(tracks).view(-1, width) @ flat).numpy().reshape(*tracks.shape[:3], -1)
    of_tracks -= of_means[:, None]  # [V, S, L, q*P]
    return (
        of_tracks.reshape(*tracks.shape[:3], count, vectors),
        of_means.reshape(len(means), count, vectors),
    )


def _best_cosines(
    of_tracks: NDArray[np.float32],
    of_means: NDArray[np.float32],
    recipe: Blend,
    tracks: NDArray[np.float32],
    means: NDArray[np.float32],
) -> NDArray[np.float32]:
    """Best cosine over frames and a query's vectors `[n, q, S]`."""
    clips, slots, _ = recipe.angle.shape
    best = np.empty((clips, of_tracks.shape[3], slots), np.float32)
    _score(of_tracks, of_means, recipe.own, recipe.partner, recipe.angle, tracks, means, best)
    return best


@numba.njit(nogil=True, parallel=True, fastmath=True)
def _score(of_tracks, of_means, own, partner, angle, tracks, means, best):  # type: ignore[no-untyped-def]
    clips, slots, frames = angle.shape
    queries, vectors = of_means.shape[1:]
    for clip in numba.prange(clips):
        vector = np.empty(tracks.shape[-1], np.float32)
        cosines = np.empty((queries, vectors), np.float32)
        for slot in range(slots):
            mine, other = own[clip, slot], partner[clip, slot]
            cosines[:] = -2
            for frame in range(frames):
                turned = angle[clip, slot, frame]
                scale = turn(
                    means[slot], tracks[mine, slot, frame], tracks[other, slot, frame], turned, vector
                )
                cos, sin = scale * np.float32(np.cos(turned)), scale * np.float32(np.sin(turned))
                for query in range(queries):
                    for place in range(vectors):
                        cosine = (
                            scale * of_means[slot, query, place]
                            + cos * of_tracks[mine, slot, frame, query, place]
                            + sin * of_tracks[other, slot, frame, query, place]
                        )
                        cosines[query, place] = max(cosines[query, place], cosine)
            for query in range(queries):
                best[clip, query, slot] = cosines[query].max()
