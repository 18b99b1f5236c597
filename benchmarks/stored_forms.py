"""Which stored form of object prototypes keeps the exact ten best clips, and how many bytes a clip does it take?

The exact best clips of each query are found among `--clips` generated ones of the sizes of a published model. Their
object prototypes and those of the clips behind them are put into each form and back, and scored exactly: so the recall
is a ceiling that no number of reranked candidates exceeds. Event prototypes stay as they are. Only the 8-bit form is a
format of a library; the others are candidates for one.

    python benchmarks/stored_forms.py --work bench --clips 10000 --queries 60
"""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.exact_answers import find_exact_answers
from prost.bench.generator import CLIPS_A_BLOCK, Blend, ClipBlock, Generator
from prost.bench.real import RealPrototypes, held_out_captions
from prost.bench.realism import fit_recombination
from prost.bench.sizes import PUBLISHED, PrototypeSource
from prost.model.vectors import unit
from prost.search.codebook import train_codebook
from prost.search.unrelated import unrelated_sentences

# The clips that train axes, steps and centroids come from a block that is not searched.
TRAINING_BLOCK, TRAINING_CLIPS = 10_000, 200
# A library stores text prototypes of unrelated sentences; so many of them tell what sentences look like.
SENTENCES = 200
CENTROIDS = 1024
WANTED, DEPTH = 10, 40
# Bits a component at most, and samples from which the levels of each number of bits are computed.
MOST_BITS, SAMPLES = 12, 100_000
ROUNDS = 40

Vectors = NDArray[np.float32]
# Object prototypes `[n, S, L, D]` to what the stored form gives back: products with it stand for cosines.
Form = Callable[[Vectors], Vectors]


def rounded(bits: int) -> Form:
    """Each vector divided by its largest component; with 8 bits the form of a library."""

    def form(vectors: Vectors) -> Vectors:
        largest = np.abs(vectors).max(axis=-1, keepdims=True) / np.float32(2 ** (bits - 1) - 1)
        largest[largest == 0] = 1
        return _unit(np.rint(vectors / largest) * largest)

    return form


def clipped(bits: int, deviations: float) -> Form:
    """Components beyond some standard deviations of their vector are cut off, so that the steps are finer."""

    def form(vectors: Vectors) -> Vectors:
        return _unit(_in_steps(vectors, vectors.std(axis=-1, keepdims=True), bits, deviations))

    return form


def residual(training: Vectors, bits: int, deviations: float) -> Form:
    """The centroid that the scan knows, and the difference from it in a few bits."""
    book = train_codebook(torch.from_numpy(training.reshape(-1, training.shape[-1])), CENTROIDS)
    centroids = book.centroids.numpy()

    def form(vectors: Vectors) -> Vectors:
        flat = vectors.reshape(-1, vectors.shape[-1])
        codes, cosines = book.assign(torch.from_numpy(flat))
        near = centroids[codes.numpy()] * cosines.numpy()[:, None]
        rest = flat - near
        rest = _in_steps(rest, rest.std(axis=-1, keepdims=True), bits, deviations)
        return _unit(near + rest).reshape(vectors.shape)

    return form


def transformed(training: Vectors, phrases: Vectors | None, nbytes: int, *, over_frames: bool = True) -> Form:
    """Coordinates on principal axes of a library, each in as many bits as its spread deserves, `nbytes` a clip.

    The vectors are not brought to length one again: a product with the expected vector is the expected cosine.

    Args:
        training: tracks `[n, S, L, D]`.
        phrases: of sentences `[m, D]`, of length one: axes and bits then serve the products with these. Without them
            all directions count alike.
        nbytes: of a clip.
        over_frames: the L vectors of a slot are first transformed by the cosine transform, so that what its frames
            share is stored once.
    """
    slots, frames, width = training.shape[1:]
    flat = training.reshape(-1, width).astype(np.float64)
    root = np.eye(width)
    if phrases is not None:
        # A little of all directions is kept, because sentences to come are not those that were seen.
        moment = phrases.T.astype(np.float64) @ phrases
        moment = 0.97 * moment / np.trace(moment) + 0.03 * np.eye(width) / width
        values, vectors = np.linalg.eigh(moment)
        root = (vectors * np.sqrt(values)) @ vectors.T
    axes = np.linalg.eigh(root @ (flat.T @ flat) @ root)[1][:, ::-1]
    there, back = (root @ axes).astype(np.float32), np.linalg.solve(root, axes).T.astype(np.float32)
    turn = _cosine_transform(frames) if over_frames else np.eye(frames, dtype=np.float32)

    def coordinates(tracks: Vectors) -> Vectors:
        return np.matmul(turn, tracks) @ there

    seen = coordinates(training).reshape(-1, frames, width)
    spread = np.sqrt((seen**2).mean(axis=0)) + np.finfo(np.float32).tiny  # [L, D]
    chosen = np.random.default_rng(0).integers(0, seen.size, SAMPLES)
    levels = [_levels((seen / spread).reshape(-1)[chosen], bits) for bits in range(1, MOST_BITS + 1)]
    errors = np.array([1.0, *(error for _, error in levels)])
    # Each bit goes where it takes most off the squared error of a product.
    gains = (spread**2).reshape(-1, 1) * (errors[:-1] - errors[1:])
    bits_of_slot = nbytes * 8 // slots
    best = np.argpartition(-gains.reshape(-1), bits_of_slot)[:bits_of_slot]
    bits = np.bincount(best // MOST_BITS, minlength=frames * width).reshape(frames, width)

    def form(vectors: Vectors) -> Vectors:
        scaled = coordinates(vectors) / spread
        stored = np.zeros_like(scaled)
        for count, (values, _) in enumerate(levels, start=1):
            some = bits == count
            stored[..., some] = values[np.searchsorted(_between(values), scaled[..., some])]
        given = np.matmul(turn.T, (stored * spread) @ back)
        given[~vectors.any(axis=-1)] = 0
        return given

    return form


def fewer_frames(training: Vectors, phrases: Vectors, kept: int) -> Form:
    """Only the frames of each slot that together come nearest to the best cosines of seen phrases, as they are."""
    del training

    def form(vectors: Vectors) -> Vectors:
        cosines = (torch.from_numpy(vectors) @ torch.from_numpy(phrases).T).numpy()  # [n, S, L, m]
        most = cosines.max(axis=2)
        reached = np.full_like(most, -1)
        left = np.ones(vectors.shape[:3], dtype=bool)
        for _ in range(kept):
            missing = ((most[:, :, None] - np.maximum(reached[:, :, None], cosines)) ** 2).sum(axis=-1)
            missing[~left] = np.inf
            frame = missing.argmin(axis=2)[..., None]
            np.put_along_axis(left, frame, False, axis=2)
            reached = np.maximum(reached, np.take_along_axis(cosines, frame[..., None], axis=2)[:, :, 0])
        first = np.take_along_axis(vectors, (~left).argmax(axis=2)[..., None, None], axis=2)
        return np.where(left[..., None], first, vectors)

    return form


def _cosine_transform(count: int) -> Vectors:
    """The orthogonal cosine transform (type II) of some values; its first row takes their mean."""
    rows, columns = np.arange(count)[:, None], np.arange(count) + 0.5
    values = np.sqrt(2 / count) * np.cos(np.pi * rows * columns / count)
    values[0] /= np.sqrt(2)
    return values.astype(np.float32)


def _levels(samples: Vectors, bits: int) -> tuple[Vectors, float]:
    """The 2**bits values that stand for samples with the least squared error (Lloyd, Max), and that error."""
    ordered = np.sort(samples.astype(np.float64))
    count = 2**bits
    sums = np.concatenate([[0], np.cumsum(ordered)])
    values = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    for _ in range(ROUNDS):
        bounds = np.concatenate([[0], np.searchsorted(ordered, _between(values)), [len(ordered)]])
        members = np.diff(bounds)
        values = np.where(members > 0, np.diff(sums[bounds]) / np.maximum(members, 1), values)
    nearest = values[np.searchsorted(_between(values), ordered)]
    return values.astype(np.float32), float(((ordered - nearest) ** 2).mean())


def _between(values: NDArray[np.floating]) -> NDArray[np.floating]:
    return (values[1:] + values[:-1]) / 2


def _in_steps(values: Vectors, sigma: Vectors, bits: int, deviations: float) -> Vectors:
    """Values in 2**bits equal steps between -`deviations` and +`deviations` times sigma; 0 where sigma is 0."""
    steps = 2 ** (bits - 1)
    size = np.where(sigma > 0, deviations * sigma / steps, 1).astype(np.float32)
    return np.where(
        sigma > 0, (np.clip(np.floor(values / size), -steps, steps - 1) + np.float32(0.5)) * size, 0
    )


def _unit(vectors: Vectors) -> Vectors:
    return unit(torch.from_numpy(vectors)).numpy()


def forms(training: Vectors, phrases: Vectors) -> Iterator[tuple[str, float, Form]]:
    """The forms that are compared, each with the bytes of a clip's object prototypes."""
    slots, frames, width = training.shape[1:]
    vectors = slots * frames

    def with_scales(bits: int) -> float:
        return vectors * (width * bits / 8 + 4)

    yield "8 bits (a library's)", with_scales(8), rounded(8)
    yield "6 bits", with_scales(6), rounded(6)
    yield "5 bits, cut off at 3.2 deviations", with_scales(5), clipped(5, 3.2)
    yield "4 bits", with_scales(4), rounded(4)
    yield "4 bits, cut off at 2.8 deviations", with_scales(4), clipped(4, 2.8)
    yield (
        f"4-bit residual to {CENTROIDS} centroids",
        with_scales(4) + 2 * vectors,
        residual(training, 4, 2.8),
    )
    yield "library's axes, 13 kB", 13_000, transformed(training, None, 13_000, over_frames=False)
    yield "library's axes and frames, 13 kB", 13_000, transformed(training, None, 13_000)
    for nbytes in (9_000, 13_000, 18_000, 24_000):
        yield (
            f"axes for sentences, and frames, {nbytes // 1000} kB",
            nbytes,
            transformed(training, phrases, nbytes),
        )
    yield "8 of 12 frames, float32", 8 * slots * width * 4, fewer_frames(training, phrases[::16], 8)


def some_clips(generator: Generator, rows: NDArray[np.int64]) -> RealPrototypes:
    """Prototypes of some clips of a generated library, in the order of `rows`."""
    first = generator.block(0, 1)
    object = np.empty((len(rows), *first.object.angle.shape[1:], generator.tracks.shape[-1]), np.float32)
    event = np.empty((len(rows), *generator.events.shape[1::2]), np.float32)
    blocks = rows // CLIPS_A_BLOCK
    for number in np.unique(blocks).tolist():
        places = np.flatnonzero(blocks == number)
        block = generator.block(number)
        wanted = rows[places] % CLIPS_A_BLOCK
        part = ClipBlock(
            first=block.first, object=_some(block.object, wanted), event=_some(block.event, wanted)
        )
        made = generator.materialise(part)
        object[places], event[places] = made.object, made.event
    return RealPrototypes(object=object, event=event)


def _some(blend: Blend, rows: NDArray[np.int64]) -> Blend:
    return Blend(own=blend.own[rows], partner=blend.partner[rows], angle=blend.angle[rows])


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--like", default="prost-b16", choices=list(PUBLISHED))
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--videos", type=int, default=1200)
    parser.add_argument("--work", type=Path, default=Path("bench"))
    parser.add_argument("--only", default="", help="compare only the forms whose names contain this")
    given = parser.parse_args()
    source = PrototypeSource.open("toybox", given.like)
    real = source.videos(given.work, given.videos, lambda done, total, what: None)
    kept = len(real) * 3 // 4
    generator = Generator(
        real[:kept], fit_recombination(real[:kept], real[kept : kept + len(real) // 12], seed=0)
    )
    text = source.sentences(held_out_captions(given.queries)).mapped(unit)
    weight = source.object_phrase_weight
    seen = source.sentences(unrelated_sentences(source.model, SENTENCES)).mapped(unit).phrase.flatten(0, 1)
    training = generator.materialise(generator.block(TRAINING_BLOCK, TRAINING_CLIPS)).object
    compared = [form for form in forms(training, seen.numpy()) if given.only in form[0]]
    print("forms are learned", file=sys.stderr, flush=True)
    truth = find_exact_answers(generator, given.clips, text, weight, DEPTH, lambda done, total, what: None)
    print("the exact best clips are found", file=sys.stderr, flush=True)

    errors: dict[str, list[float]] = {name: [] for name, _, _ in compared}
    recalls: dict[str, list[float]] = {name: [] for name, _, _ in compared}
    for query, rows in enumerate(truth.rows):
        clips = some_clips(generator, rows)
        event = (torch.from_numpy(clips.event) @ text.sentence[query]).amax(dim=1)
        for name, _, form in compared:
            cosines = torch.from_numpy(form(clips.object)) @ text.phrase[query].T  # [n, S, L, N_p]
            total = (event + weight * cosines.amax(dim=(2, 3)).mean(dim=1)).numpy()
            errors[name].append(float((total - truth.scores[query]).std()))
            found = np.argsort(-total, kind="stable")[:WANTED]
            recalls[name].append(float((found < WANTED).mean()))
        print(f"{query + 1} of {given.queries} queries", file=sys.stderr, flush=True)
    print(
        f"{given.clips} clips, {given.queries} queries, the best {DEPTH} of each scored again; "
        f"load {os.getloadavg()[0]:.1f}\n"
    )
    print(
        "| form | bytes of objects a clip | error of a score, std | recall@10 | +- |\n|---|---|---|---|---|"
    )
    for name, nbytes, _ in compared:
        recall = np.array(recalls[name])
        print(
            f"| {name} | {nbytes:,.0f} | {np.mean(errors[name]):.5f} | {recall.mean():.4f} "
            f"| {recall.std() / len(recall) ** 0.5:.4f} |"
        )


if __name__ == "__main__":
    main()
