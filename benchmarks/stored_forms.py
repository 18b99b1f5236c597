"""Which stored form of object prototypes keeps the exact ten best clips, and how many bytes a clip does it take?

Clips of the sizes of a published model are generated, their object prototypes put into each form and back, and every
clip is scored exactly: so the recall is a ceiling that no number of reranked candidates exceeds. Event prototypes stay
as they are. Only the float form and the 8-bit one are formats of a library; the others are candidates for one.

    python benchmarks/stored_forms.py --work bench --clips 1024 --queries 24
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

from prost.bench.generator import Generator
from prost.bench.real import held_out_captions
from prost.bench.realism import fit_recombination
from prost.bench.sizes import PUBLISHED, PrototypeSource
from prost.model.vectors import unit
from prost.search.codebook import Codebook, train_codebook

CLIPS_AT_ONCE = 128
# Clips whose vectors train the codebook and the axes; they are not among the clips that are scored.
TRAINING_BLOCK, TRAINING_CLIPS = 10_000, 200
CENTROIDS = 1024
WANTED = 10

Vectors = NDArray[np.float32]
# Object prototypes `[n, S, L, D]` to what the stored form gives back, and the bytes that a clip takes.
Form = Callable[[Vectors], tuple[Vectors, float]]


def rounded(bits: int) -> Form:
    """Each vector divided by its largest component; with 8 bits the form of a library."""

    def form(vectors: Vectors) -> tuple[Vectors, float]:
        return _rounded(vectors, bits), _bytes(vectors, bits)

    return form


def clipped(bits: int, deviations: float) -> Form:
    """Components beyond some standard deviations of their vector are cut off, so that the steps are finer."""

    def form(vectors: Vectors) -> tuple[Vectors, float]:
        return _in_steps(vectors, vectors.std(axis=-1, keepdims=True), bits, deviations), _bytes(
            vectors, bits
        )

    return form


def residual(book: Codebook, bits: int, deviations: float) -> Form:
    """The centroid that the scan knows, and the difference from it in a few bits."""
    centroids = book.centroids.numpy()

    def form(vectors: Vectors) -> tuple[Vectors, float]:
        flat = vectors.reshape(-1, vectors.shape[-1])
        codes, cosines = book.assign(torch.from_numpy(flat))
        near = centroids[codes.numpy()] * cosines.numpy()[:, None]
        rest = flat - near
        rest = _in_steps(rest, rest.std(axis=-1, keepdims=True), bits, deviations)
        return (near + rest).reshape(vectors.shape), _bytes(vectors, bits)

    return form


def transformed(training: Vectors, step: float, deviations: float) -> Form:
    """The principal axes of a library, each with as many bits as its spread needs for one step."""
    mean = training.mean(axis=0)
    spread, axes = np.linalg.eigh(np.cov((training - mean).T))
    sigma = np.sqrt(np.maximum(spread, 0)).astype(np.float32)
    axes = axes.astype(np.float32)
    bits = np.clip(np.ceil(np.log2(np.maximum(2 * deviations * sigma / step, 1))), 0, 8).astype(int)

    def form(vectors: Vectors) -> tuple[Vectors, float]:
        coordinates = (vectors - mean) @ axes
        stored = np.zeros_like(coordinates)
        for count in np.unique(bits[bits > 0]).tolist():
            some = bits == count
            stored[..., some] = _in_steps(coordinates[..., some], sigma[some], count, deviations)
        return (stored @ axes.T + mean).astype(np.float32), _bytes(vectors, float(bits.mean()))

    return form


def own_basis(rank: int, bits: int) -> Form:
    """The first singular vectors of each clip and the coordinates of its prototypes, with a scale for each row."""

    def form(vectors: Vectors) -> tuple[Vectors, float]:
        clips, width = len(vectors), vectors.shape[-1]
        rows = vectors.reshape(clips, -1, width)
        own = torch.linalg.eigh(torch.from_numpy(rows @ rows.transpose(0, 2, 1))).eigenvectors
        left = own.flip(-1)[..., :rank].numpy()  # [n, S * L, r]
        basis = left.transpose(0, 2, 1) @ rows
        lengths = np.maximum(np.linalg.norm(basis, axis=-1, keepdims=True), np.finfo(np.float32).tiny)
        coordinates = left * lengths[:, :, 0][:, None]
        stored = _rounded(coordinates, bits) @ _rounded(basis / lengths, bits)
        count = rows.shape[1]
        return stored.reshape(vectors.shape), (rank * width + count * rank) * bits / 8 + 4 * (rank + count)

    return form


def _rounded(vectors: Vectors, bits: int) -> Vectors:
    largest = np.abs(vectors).max(axis=-1, keepdims=True) / np.float32(2 ** (bits - 1) - 1)
    largest[largest == 0] = 1
    return np.rint(vectors / largest) * largest


def _in_steps(values: Vectors, sigma: Vectors, bits: int, deviations: float) -> Vectors:
    """Values in 2**bits equal steps between -`deviations` and +`deviations` times sigma; 0 where sigma is 0."""
    steps = 2 ** (bits - 1)
    size = np.where(sigma > 0, deviations * sigma / steps, 1).astype(np.float32)
    return np.where(
        sigma > 0, (np.clip(np.floor(values / size), -steps, steps - 1) + np.float32(0.5)) * size, 0
    )


def _bytes(vectors: Vectors, bits: float) -> float:
    """Bytes of a clip: components of some bits each, and a float32 scale a vector."""
    slots, frames, width = vectors.shape[1:]
    return slots * frames * (width * bits / 8 + 4)


def forms(training: Vectors) -> Iterator[tuple[str, Form]]:
    """The forms that are compared."""
    yield "float32", lambda vectors: (vectors, 4.0 * vectors[0].size)
    yield "8 bits (a library's)", rounded(8)
    yield "6 bits", rounded(6)
    yield "4 bits, clipped", clipped(4, 2.8)
    book = train_codebook(torch.from_numpy(training), CENTROIDS)
    for bits in (4, 3, 2):
        yield (
            f"{bits}-bit residual to {len(book)} centroids",
            residual(book, bits, {4: 2.8, 3: 2.4, 2: 2.0}[bits]),
        )
    for step in (0.002, 0.004, 0.008):
        yield f"principal axes, step {step}", transformed(training, step, 4.0)
    for rank in (48, 32):
        yield f"own basis of rank {rank}, 8 bits", own_basis(rank, 8)


def main() -> None:
    """Print a table."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--like", default="prost-b16", choices=list(PUBLISHED))
    parser.add_argument("--clips", type=int, default=1024)
    parser.add_argument("--queries", type=int, default=24)
    parser.add_argument("--videos", type=int, default=1200)
    parser.add_argument("--work", type=Path, default=Path("bench"))
    given = parser.parse_args()
    source = PrototypeSource.open("toybox", given.like)
    real = source.videos(given.work, given.videos, lambda done, total, what: None)
    kept = len(real) * 3 // 4
    generator = Generator(
        real[:kept], fit_recombination(real[:kept], real[kept : kept + len(real) // 12], seed=0)
    )
    text = source.sentences(held_out_captions(given.queries))
    phrases, sentences = unit(text.phrase), unit(text.sentence)
    sample = generator.materialise(generator.block(TRAINING_BLOCK, TRAINING_CLIPS)).object
    compared = dict(forms(sample.reshape(-1, sample.shape[-1])))

    events: list[NDArray[np.float32]] = []
    objects: dict[str, list[NDArray[np.float32]]] = {name: [] for name in compared}
    nbytes: dict[str, float] = {}
    blocks = -(-given.clips // CLIPS_AT_ONCE)
    for number in range(blocks):
        made = generator.materialise(generator.block(number, CLIPS_AT_ONCE))
        event = torch.from_numpy(made.event)
        events.append(torch.einsum("nmd,qd->qnm", event, sentences).amax(dim=2).numpy())
        for name, form in compared.items():
            vectors, nbytes[name] = form(made.object)
            products = torch.from_numpy(vectors).flatten(0, 2) @ phrases.flatten(0, 1).T
            best = products.view(*vectors.shape[:3], given.queries, -1).amax(dim=(2, 4)).mean(dim=1)  # [n, Q]
            objects[name].append(best.T.numpy())
        print(f"{number + 1} of {blocks} blocks", file=sys.stderr, flush=True)

    event_scores = np.concatenate(events, axis=1)
    totals = {
        name: event_scores + source.object_phrase_weight * np.concatenate(parts, axis=1)
        for name, parts in objects.items()
    }
    truth = np.argsort(-totals["float32"], axis=1)[:, :WANTED]
    print(f"{event_scores.shape[1]} clips, {given.queries} queries, load {os.getloadavg()[0]:.1f}\n")
    print("| form | bytes of objects a clip | error of a score, std | recall@10 |\n|---|---|---|---|")
    for name, total in totals.items():
        found = np.argsort(-total, axis=1)[:, :WANTED]
        recall = np.mean([np.isin(best, rows).mean() for best, rows in zip(truth, found, strict=True)])
        error = (total - totals["float32"]).std()
        print(f"| {name} | {nbytes[name]:,.0f} | {error:.5f} | {recall:.4f} |")


if __name__ == "__main__":
    main()
