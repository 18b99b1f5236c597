"""Does a small joint scorer of sentence and video find more than ProST's score? A reranker of the best fifty.

    python benchmarks/reranker.py               10,000 clips, 900 steps, about 20 minutes on a quiet core
    python benchmarks/reranker.py --threads 1

ProST averages, over the frames and the phrases of a sentence, the largest cosine of a phrase with the objects of a
frame. The reranker reads these cosines before they are averaged: for each phrase its largest cosine in each frame,
with the phrase itself, and for the sentence its cosines with the events. So it can learn which phrases must be
found, when, and in which order. It needs nothing but the prototypes that a library stores, and adds its part to
ProST's score. The idea of a light scorer over stored tokens is that of VEDJE (OpenReview ZqB0Ab4juk), which reads
the tokens themselves.

It is trained on drawn clips of the split `train`, against the clips that ProST ranks highest among 500, and
measured on galleries of the split `test`: by paired bootstrap against ProST's own score, and by how well its best
score tells queries whose video is in the gallery from those whose video was left out (the galleries of `prost bench
nomatch`). No figure of the test split chose anything; `toybox-500` of the split `val` is reported on the way.
"""

from __future__ import annotations

import argparse
import itertools
import json
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from prost.bench.nomatch import SEED, area_under_curve, half_of
from prost.bench.real import encode_scenes
from prost.config import TowerDesign
from prost.data.toybox import Caption, Scene, can_twin, describe, gallery, holds, scene_stream, twin_of
from prost.evaluation.benchmark import twin_accuracy
from prost.evaluation.bootstrap import paired_bootstrap
from prost.evaluation.machine import describe_machine
from prost.evaluation.metrics import ranks
from prost.model.checkpoint import load_prost
from prost.model.encoding import encode_text
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.model.towers import TransformerBlock
from prost.model.vectors import unit

# Scenes of the split `train` that no recipe draws.
STREAM = 9001
TWINS = 0.35
CAPTIONS = 3
TOP = 50

QUERIES, CANDIDATES, POOL = 40, 24, 500
LEARNING_RATE, SCALE_TIMES, WARMUP, WEIGHT_DECAY = 2e-3, 10.0, 50, 0.02
# Weight of the wrong candidates, beside the true video, where each pair is judged alone.
NEGATIVES = 4.0
WIDTH, BLOCKS = 96, 2
DESIGN = TowerDesign(head_width=24, mlp_width=288, activation="gelu")
# Cosines of neighbours differ by about a tenth.
COSINE_SCALE = 8.0


class Reranker(nn.Module):
    """Reads how a sentence and a video fit each other, phrase by phrase and frame by frame.

    Args:
        frames: L.
        phrases: N_p.
        events: N_e.
        width: D.
    """

    def __init__(self, *, frames: int, phrases: int, events: int, width: int) -> None:
        super().__init__()
        self.fit, self.gated = nn.Linear(frames, WIDTH), nn.Linear(frames, WIDTH)
        self.phrase, self.gate = nn.Linear(width, WIDTH), nn.Linear(width, WIDTH)
        self.place = nn.Parameter(0.02 * torch.randn(phrases, WIDTH))
        self.event, self.sentence = nn.Linear(events + 1, WIDTH), nn.Linear(width, WIDTH)
        self.blocks = nn.Sequential(*(TransformerBlock(WIDTH, DESIGN) for _ in range(BLOCKS)))
        last = nn.Linear(WIDTH, 1)
        self.head = nn.Sequential(nn.LayerNorm(WIDTH), nn.Linear(WIDTH, WIDTH), nn.GELU(), last)
        # It begins as ProST's own order.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, fits: Fits, text: TextPrototypes) -> Tensor:
        """Score Q sentences with C candidates each: `[Q, C]`, logits that the pair belongs together.

        Args:
            fits: of the candidates.
            text: unit prototypes of the Q sentences.
        """
        cosines = COSINE_SCALE * fits.phrase
        phrases = (
            self.fit(cosines)
            + self.gated(cosines) * torch.tanh(self.gate(text.phrase))[:, None]
            + self.phrase(text.phrase)[:, None]
            + self.place
        )
        whole = torch.cat([fits.event, fits.score[..., None]], dim=-1)
        sentence = self.event(COSINE_SCALE * whole) + self.sentence(text.sentence)[:, None]
        tokens = torch.cat([sentence[:, :, None], phrases], dim=2).flatten(0, 1)
        added = self.head(self.blocks(tokens)[:, 0]).view_as(fits.score)
        return self.scale * fits.score + self.bias + added


@dataclass(frozen=True)
class Fits:
    """How sentences and candidates fit.

    Attributes:
        phrase: largest cosine of each phrase with the objects of each frame `[Q, C, N_p, L]`.
        event: cosine of the sentence with each event `[Q, C, N_e]`.
        score: ProST's `[Q, C]`.
    """

    phrase: Tensor
    event: Tensor
    score: Tensor

    def of(self, candidates: Tensor) -> Fits:
        """Those of some candidates of each sentence `[Q, c]`."""
        rows = torch.arange(len(candidates))[:, None]
        return Fits(self.phrase[rows, candidates], self.event[rows, candidates], self.score[rows, candidates])


@dataclass(frozen=True)
class Encoded:
    """Scenes, sentences, and their unit prototypes; sentence t belongs to scene `owner[t]`."""

    scenes: Sequence[Scene]
    captions: Sequence[Caption]
    owner: NDArray[np.int64]
    video: VideoPrototypes
    text: TextPrototypes


def fits_of(model: ProST, text: TextPrototypes, video: VideoPrototypes) -> Fits:
    """Compare Q sentences with V videos, all unit prototypes in bfloat16."""
    with torch.inference_mode():
        clips, frames, slots, _ = video.object.shape
        flat = text.phrase.flatten(0, 1)  # [Q * N_p, D]
        phrase = torch.empty(len(flat), clips, frames)
        for first in range(0, clips, 50):
            part = video.object[first : first + 50].flatten(0, 2)
            phrase[:, first : first + 50] = (
                (flat @ part.T).view(len(flat), -1, frames, slots).amax(dim=-1).float()
            )
        event = (text.sentence @ video.event.flatten(0, 1).T).float().view(len(text), clips, -1)
        score = model.match(text, video).total.float()
        return Fits(phrase.view(len(text), -1, clips, frames).transpose(1, 2), event, score)


def encode(
    model: ProST, scenes: Sequence[Scene], captions: Sequence[Sequence[Caption]], name: str
) -> Encoded:
    """Draw and encode scenes, and encode their captions."""

    def progress(done: int, total: int, _: str = "") -> None:
        if done % 1024 < 32 or done == total:
            print(f"{name}: {done:,} of {total:,} clips", flush=True)

    clips = encode_scenes(model, scenes, progress)
    flat = [caption for of_scene in captions for caption in of_scene]
    half = torch.bfloat16
    return Encoded(
        scenes,
        flat,
        np.repeat(np.arange(len(scenes)), [len(of_scene) for of_scene in captions]),
        VideoPrototypes(
            torch.from_numpy(clips.object).transpose(1, 2).to(half).contiguous(),
            torch.from_numpy(clips.event).to(half),
        ),
        encode_text(model, [caption.text for caption in flat]).mapped(lambda part: unit(part).to(half)),
    )


def training_clips(model: ProST, count: int) -> Encoded:
    """Scenes of the split `train`, many with their order-swapped twin, and a few captions of each."""
    rng = np.random.default_rng(STREAM)
    scenes: list[Scene] = []
    for scene in scene_stream("train", STREAM):
        if len(scenes) >= count:
            break
        scenes.append(scene)
        if can_twin(scene) and rng.random() < TWINS:
            scenes.append(twin_of(scene))
    return encode(
        model, scenes, [[describe(scene, rng) for _ in range(CAPTIONS)] for scene in scenes], "train"
    )


def test_clips(model: ProST, name: str, split: str) -> Encoded:
    """A gallery, whose query i is true of its video i only."""
    drawn = gallery(name, split)
    return encode(model, drawn.scenes, [[query] for query in drawn.queries], f"{name} ({split})")


def batches(model: ProST, data: Encoded, steps: int) -> Iterator[tuple[TextPrototypes, Fits]]:
    """Sentences with the true video first, then the highest of 500 videos of which the sentence is not true."""
    rng = np.random.default_rng(0)
    for _ in range(steps):
        sentences = rng.choice(len(data.captions), QUERIES, replace=False)
        others = rng.choice(len(data.scenes), POOL, replace=False)
        # A twin stands beside the scene that it is made from, and few pools would hold it by chance.
        near = np.concatenate([data.owner[sentences] + step for step in (-1, 0, 1)])
        pool = np.unique(np.concatenate([others, near[(near >= 0) & (near < len(data.scenes))]]))
        text = data.text[torch.from_numpy(sentences)]
        fits = fits_of(model, text, data.video[torch.from_numpy(pool)])
        order = fits.score.argsort(dim=1, descending=True).numpy()
        chosen = []
        for row, sentence in enumerate(sentences):
            claims, true = data.captions[sentence].claims, int(np.searchsorted(pool, data.owner[sentence]))
            wrong = (place for place in order[row] if not holds(claims, data.scenes[pool[place]]))
            chosen.append([true, *itertools.islice(wrong, CANDIDATES - 1)])
        yield text, fits.of(torch.tensor(np.array(chosen)))


def train(model: ProST, data: Encoded, steps: int) -> Reranker:
    """Train by the cross entropy of the true video among its candidates, and of each pair by itself."""
    torch.manual_seed(0)
    config = model.config
    reranker = Reranker(
        frames=config.frames,
        phrases=data.text.phrase.shape[1],
        events=data.video.event.shape[1],
        width=config.width,
    )
    own = [reranker.scale, reranker.bias]
    rest = [part for part in reranker.parameters() if all(part is not other for other in own)]
    optimizer = torch.optim.AdamW(
        [
            {"params": rest, "times": 1.0, "weight_decay": WEIGHT_DECAY},
            {"params": own, "times": SCALE_TIMES, "weight_decay": 0.0},
        ]
    )
    started, losses = time.perf_counter(), []
    for step, (text, fits) in enumerate(batches(model, data, steps)):
        if step == 0:
            true, wrong = fits.score[:, 0].mean(), fits.score[:, 1:].mean()
            with torch.no_grad():
                reranker.scale.fill_(4 / (true - wrong))
                reranker.bias.fill_(-2 * (true + wrong) / (true - wrong))
        rate = LEARNING_RATE * min(1.0, (step + 1) / WARMUP) * (1 + np.cos(np.pi * step / steps)) / 2
        for group in optimizer.param_groups:
            group["lr"] = rate * group["times"]
        with torch.autocast("cpu", torch.bfloat16):
            logits = reranker(fits, text.mapped(lambda part: part.float())).float()
        belongs = torch.zeros_like(logits)
        belongs[:, 0] = 1
        alone = binary_cross_entropy_with_logits(logits, belongs, reduction="none")
        loss = cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long))
        loss = loss + (alone[:, 0].mean() + NEGATIVES * alone[:, 1:].mean()) / 2
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(reranker.parameters(), 1.0)
        optimizer.step()
        losses.append(loss.item())
        if (step + 1) % 100 == 0:
            print(
                f"step {step + 1} of {steps}: loss {np.mean(losses[-100:]):.3f}, {time.perf_counter() - started:.0f} s",
                flush=True,
            )
    return reranker.eval()


def scores_of(
    model: ProST, reranker: Reranker, text: TextPrototypes, video: VideoPrototypes
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """ProST's scores `[Q, V]`, and the reranker's of the best fifty; the others stay below them in ProST's order."""
    plain, joint = [], []
    with torch.inference_mode():
        for first in range(0, len(text), 10):
            some = text[first : first + 10]
            fits = fits_of(model, some, video)
            best = fits.score.topk(min(TOP, len(video)), dim=1).indices
            reranked = fits.score - 1e6
            reranked.scatter_(1, best, reranker(fits.of(best), some.mapped(lambda part: part.float())))
            plain.append(fits.score)
            joint.append(reranked)
    return torch.cat(plain).double().numpy(), torch.cat(joint).double().numpy()


def main() -> None:
    """Train and measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--clips", type=int, default=10_000)
    parser.add_argument("--steps", type=int, default=900)
    parser.add_argument("--threads", type=int, help="of torch; all cores when left out")
    parser.add_argument("--json", type=Path, help="write the figures there, too")
    given = parser.parse_args()
    if given.threads:
        torch.set_num_threads(given.threads)
    model = load_prost("toybox", "cpu")
    reranker = train(model, training_clips(model, given.clips), given.steps)
    figures: dict[str, object] = {
        "machine": describe_machine(),
        "clips": given.clips,
        "steps": given.steps,
        "parameters": sum(part.numel() for part in reranker.parameters()),
    }
    for name, split in (("toybox-500", "val"), ("toybox-1k", "test")):
        data = test_clips(model, name, split)
        plain, joint = scores_of(model, reranker, data.text, data.video)
        twin = gallery(name, split).twin
        result = paired_bootstrap(ranks(joint), ranks(plain), "R@1")
        figures[f"{name} ({split})"] = {
            **{
                f"R@{k}": [100 * float((ranks(scores) <= k).mean()) for scores in (plain, joint)]
                for k in (1, 5)
            },
            "difference of R@1": [result.difference, result.low, result.high],
            "twin_accuracy": [twin_accuracy(scores, twin) for scores in (plain, joint)],
        }
    data = test_clips(model, "toybox-2000", "test")
    inside = half_of(gallery("toybox-2000"), np.random.default_rng(SEED))
    absent = np.setdiff1d(np.arange(len(data.scenes)), inside)
    video = data.video[torch.from_numpy(inside)]
    kinds = [
        scores_of(model, reranker, data.text[torch.from_numpy(part)], video) for part in (inside, absent)
    ]
    figures["auroc"] = [area_under_curve(*(scores[way].max(axis=1) for scores in kinds)) for way in (0, 1)]
    some = data.text[:1]
    fits = fits_of(model, some, video).of(torch.arange(TOP)[None])
    seconds = []
    with torch.inference_mode():
        for _ in range(50):
            started = time.perf_counter()
            reranker(fits, some.mapped(lambda part: part.float()))
            seconds.append(time.perf_counter() - started)
    figures["ms_for_fifty"] = 1000 * float(np.median(seconds))
    print(json.dumps(figures, indent=2))
    if given.json:
        given.json.write_text(json.dumps(figures, indent=2) + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
