"""Training of a joint scorer on the prototypes of a finished model, see `prost.model.joint_scorer`.

Every clip of a fixed set is encoded once. A step takes some sentences, and for each its own clip and the wrong clips
that the model ranks highest in a pool drawn from the set: what a search has to tell apart. Twins and neighbours of a
clip in the set are always in the pool. The loss has two parts: the cross entropy of the own clip among the wrong ones,
which is about their order, and the cross entropy of each pair by itself, so that logits of different sentences can be
compared, as the confidence of a search does.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from prost.data.batches import generator_of
from prost.data.clip_sets import ClipSet
from prost.data.sentences import Sentences, sentences_of
from prost.errors import BadConfig
from prost.evaluation.benchmark import encode_clips
from prost.model.encoding import Precision, encode_text
from prost.model.joint_scorer import Fits, JointScorer, fits_of
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.model.vectors import unit
from prost.training.optimizer import make_schedule
from prost.training.recipe import JointStage
from prost.training.steps import Backward, Stage

# Logits of a right and a wrong clip at the start, and how much faster their scale is learned than the rest.
FIRST_LOGIT, SCALE_RATE = 2.0, 10.0
# Least difference of their scores that the first scale is made for.
LEAST_APART = 0.02
# Weight of the wrong clips, beside the own one, where each pair is judged by itself.
WRONG = 4.0


@dataclass(frozen=True, kw_only=True)
class JudgedClips:
    """A set whose prototypes are known.

    Attributes:
        sentences: of the clips.
        text: unit prototypes of the sentences, float16.
        video: unit prototypes of the clips, float16.
    """

    sentences: Sentences
    text: TextPrototypes
    video: VideoPrototypes

    @classmethod
    def encode(
        cls, model: ProST, clips: ClipSet, stage: JointStage, seed: int, precision: Precision
    ) -> JudgedClips:
        """Encode a set.

        Args:
            model: in eval mode.
            clips: the set.
            stage: which sentences of a clip.
            seed: draws them.
            precision: of the vision tower.
        """
        sentences = sentences_of(
            clips, stage.sentences, seed, events=stage.events, almost_true=stage.almost_true > 0
        )
        video = encode_clips(model, clips, precision=precision)
        return cls(
            sentences=sentences,
            text=encode_text(model, sentences.texts).mapped(_half),
            video=VideoPrototypes(_half(video.object), _half(video.event)),
        )


def train_scorer_alone(model: ProST) -> None:
    """Freeze a model but for its joint scorer."""
    assert model.joint_scorer is not None
    model.requires_grad_(False)
    model.joint_scorer.requires_grad_(True)


def joint_stage(model: ProST, judged: JudgedClips, config: JointStage, seed: int, steps: range) -> Stage:
    """The stage that trains the joint scorer of a model; nothing else of it changes.

    Its batches depend on seed and step only, and nothing else is random. So a stage that is continued ends where the
    uninterrupted one ends, although its clips were encoded again.

    Args:
        model: on the device that trains, with all but its joint scorer frozen.
        judged: the set to train on.
        config: how.
        seed: draws sentences and pools.
        steps: those that are left.
    """
    scorer = model.joint_scorer
    assert scorer is not None
    optimizer = torch.optim.AdamW(_groups(scorer, config), fused=True)

    def backward(step: int, batch: tuple[Fits, TextPrototypes, Tensor]) -> Backward:
        fits, text, true = batch
        if step == 0 and scorer.untrained:
            _start(scorer, fits.score[true])
        logits = scorer(fits, text)
        loss = _loss(logits, true)
        loss.backward()

        def measured() -> dict[str, float]:
            ranked = {"first": logits, "first_by_score": fits.score}
            return {
                name: (scores[true].argmax(dim=1) == 0).float().mean().item()
                for name, scores in ranked.items()
            }

        return Backward(loss=loss.detach(), measured=measured, suspects=lambda: "")

    return Stage(
        name="joint",
        parameters=list(scorer.parameters()),
        optimizer=optimizer,
        schedule=make_schedule(optimizer, steps.stop, config.warmup),
        gradient_clip=config.gradient_clip,
        batches=_batches(model, judged, config, seed, steps),
        backward=backward,
        validated=True,
    )


def _half(vectors: Tensor) -> Tensor:
    return unit(vectors).half()


def _groups(scorer: JointScorer, stage: JointStage) -> list[dict[str, Any]]:
    """Scale and bias of the score learn faster; only matrices are decayed."""
    own = [scorer.scale, scorer.bias]
    rest = [part for part in scorer.parameters() if all(part is not other for other in own)]
    shared = {"lr": stage.learning_rate}
    return [
        {**shared, "params": [part for part in rest if part.ndim >= 2], "weight_decay": stage.weight_decay},
        {**shared, "params": [part for part in rest if part.ndim < 2], "weight_decay": 0.0},
        {"lr": SCALE_RATE * stage.learning_rate, "params": own, "weight_decay": 0.0},
    ]


def _batches(
    model: ProST, judged: JudgedClips, stage: JointStage, seed: int, steps: range
) -> Iterator[tuple[Fits, TextPrototypes, Tensor]]:
    """Sentences with their own clip first, then the wrong ones that score highest in a pool.

    The last part tells which sentences are true of their own clip, bool `[Q]`.
    """
    sentences, clips = judged.sentences, len(judged.video)
    device = model.device
    if clips <= stage.videos:
        raise BadConfig(
            f"joint.videos {stage.videos} with {clips} clips to train on", f"2 to {clips - 1}, or more clips"
        )
    for step in steps:
        rng = generator_of(seed, "joint", step)
        chosen = _chosen(sentences, stage, rng)
        near = np.concatenate([sentences.clip[chosen] + distance for distance in (-1, 0, 1)])
        drawn = rng.choice(clips, min(stage.pool, clips), replace=False)
        pool = np.unique(np.concatenate([drawn, near[(near >= 0) & (near < clips)]]))
        text = judged.text[torch.from_numpy(chosen)].mapped(lambda part: part.to(device).float())
        video = judged.video[torch.from_numpy(pool)].mapped(lambda part: part.to(device).float())
        with torch.no_grad():
            scores = model.match(text, video).total
            order = scores.argsort(dim=1, descending=True).tolist()
            picked = []
            for sentence, ranked in zip(chosen.tolist(), order, strict=True):
                own = int(np.searchsorted(pool, sentences.clip[sentence]))
                wrong = (
                    place
                    for place in ranked
                    if place != own and not sentences.may_be_true(sentence, int(pool[place]))
                )
                picked.append([own, *islice(wrong, stage.videos - 1)])
            fewest = min(len(places) for places in picked)
            if fewest < 2:
                raise BadConfig(
                    "joint: a sentence may be true of all clips that it is compared with",
                    "clips with different captions",
                    "a larger joint.pool",
                )
            places = torch.tensor([places[:fewest] for places in picked], device=device)
            fits = Fits.joined(
                [
                    fits_of(text[row : row + 1], video[places[row]], scores[row : row + 1, places[row]])
                    for row in range(len(places))
                ]
            )
        yield fits, text, torch.from_numpy(sentences.true[chosen]).to(device)


def _chosen(sentences: Sentences, stage: JointStage, rng: np.random.Generator) -> NDArray[np.int64]:
    """The sentences of a step, true ones first; at least one is true."""
    true, almost = np.flatnonzero(sentences.true), np.flatnonzero(~sentences.true)
    wrong = min(int(stage.almost_true * stage.batch_size), len(almost))
    right = min(stage.batch_size - wrong, len(true))
    return np.concatenate([rng.choice(true, right, replace=False), rng.choice(almost, wrong, replace=False)])


def _start(scorer: JointScorer, scores: Tensor) -> None:
    """Scale and bias for which right and wrong clips have logits of about the same size.

    Args:
        scorer: that starts.
        scores: of true sentences, with the right clip in the first column `[Q, C]`.
    """
    right, wrong = scores[:, 0].mean(), scores[:, 1:].mean()
    # The wrong clips are the best of a pool, so that they may score as high as the right ones, or higher.
    apart = (right - wrong).clamp(min=LEAST_APART)
    with torch.no_grad():
        scorer.scale.copy_(2 * FIRST_LOGIT / apart)
        scorer.bias.copy_(-FIRST_LOGIT * (right + wrong) / apart)


def _loss(logits: Tensor, true: Tensor) -> Tensor:
    """Of logits `[Q, C]` whose first column is right if the sentence is true `[Q]`; all other clips are wrong.

    A sentence that is not true has no right clip, so that it takes part in the judgement of pairs alone.
    """
    belongs = torch.zeros_like(logits)
    belongs[:, 0] = true
    alone = binary_cross_entropy_with_logits(logits, belongs, reduction="none")
    first = torch.zeros(int(true.sum()), dtype=torch.long, device=logits.device)
    among = cross_entropy(logits[true], first)
    return among + (alone[belongs > 0].mean() + WRONG * alone[belongs == 0].mean()) / 2
