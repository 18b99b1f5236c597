"""Training of a joint scorer on the prototypes of a finished model, see `prost.model.joint_scorer`.

Every clip of a fixed set is encoded once. A step takes some sentences, and for each its own clip and the wrong clips
that the model ranks highest in a pool drawn from the set: what a search has to tell apart. Twins and neighbours of a
clip in the set are always in the pool. The loss has two parts: the cross entropy of the own clip among the wrong ones,
which is about their order, and the cross entropy of each pair by itself, so that logits of different sentences can be
compared, as the confidence of a search does.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from prost.data.batches import generator_of
from prost.data.clip_sets import ClipSet
from prost.data.sentences import Sentences, sentences_of
from prost.errors import BadConfig, TrainingInterrupted, TrainingStopped
from prost.evaluation.benchmark import encode_clips
from prost.interruption import Interruption
from prost.model.encoding import Precision, encode_text
from prost.model.joint_scorer import Fits, JointScorer, fits_of
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.model.vectors import unit
from prost.training.logs import Pace
from prost.training.optimizer import make_schedule
from prost.training.recipe import JointStage

LOG_EVERY = 20
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
    def encode(cls, model: ProST, clips: ClipSet, most: int, seed: int, precision: Precision) -> JudgedClips:
        """Encode a set.

        Args:
            model: in eval mode.
            clips: the set.
            most: sentences of a clip.
            seed: draws them.
            precision: of the vision tower.
        """
        sentences = sentences_of(clips, most, seed)
        video = encode_clips(model, clips, precision=precision)
        return cls(
            sentences=sentences,
            text=encode_text(model, sentences.texts).mapped(_half),
            video=VideoPrototypes(_half(video.object), _half(video.event)),
        )


def train_joint_scorer(
    model: ProST, judged: JudgedClips, stage: JointStage, seed: int, log: Callable[..., None]
) -> None:
    """Train the joint scorer of a model; nothing else of it changes.

    Args:
        model: on the device that trains.
        judged: the set to train on.
        stage: how.
        seed: draws sentences and pools.
        log: called with the values of a line of the log.

    Raises:
        TrainingInterrupted: the user asked training to stop.
        TrainingStopped: the loss is not finite.
    """
    scorer = model.joint_scorer
    assert scorer is not None
    model.requires_grad_(False).eval()
    scorer.requires_grad_(True).train()
    optimizer = torch.optim.AdamW(_groups(scorer, stage), fused=True)
    schedule = make_schedule(optimizer, stage.steps, stage.warmup)
    pace = Pace(stage.steps, None)
    with Interruption() as interruption:
        for step, (fits, text) in enumerate(_batches(model, judged, stage, seed), 1):
            if step == 1:
                _start(scorer, fits)
            logits = scorer(fits, text)
            loss = _loss(logits)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            norm = nn.utils.clip_grad_norm_(scorer.parameters(), stage.gradient_clip)
            if not torch.stack([loss.detach(), norm]).isfinite().all():
                raise TrainingStopped(
                    f"the loss is {loss.item()} at step {step} of stage 'joint'",
                    suggestion="a lower learning rate",
                )
            optimizer.step()
            schedule.step()
            pace.step()
            if step % LOG_EVERY == 0 or step == stage.steps:
                remaining = pace.remaining(step)
                first = (logits.argmax(dim=1) == 0).float().mean()
                before = (fits.score.argmax(dim=1) == 0).float().mean()
                log(
                    stage="joint",
                    step=step,
                    steps=stage.steps,
                    loss=round(loss.item(), 4),
                    first=round(first.item(), 3),
                    first_by_score=round(before.item(), 3),
                    seconds=round(pace.seconds, 1),
                    **({} if remaining is None else {"remaining": remaining}),
                )
            if interruption.asked and step < stage.steps:
                raise TrainingInterrupted(
                    f"stopped in stage 'joint' after step {step} of {stage.steps}",
                    suggestion="the same command again, which begins this stage anew",
                    number=interruption.received,
                )
    scorer.eval()


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
    model: ProST, judged: JudgedClips, stage: JointStage, seed: int
) -> Iterator[tuple[Fits, TextPrototypes]]:
    """Sentences with their own clip first, then the wrong ones that score highest in a pool."""
    sentences, clips = judged.sentences, len(judged.video)
    device = model.device
    if clips <= stage.videos:
        raise BadConfig(
            f"joint.videos {stage.videos} with {clips} clips to train on", f"2 to {clips - 1}, or more clips"
        )
    for step in range(stage.steps):
        rng = generator_of(seed, "joint", step)
        chosen = rng.choice(len(sentences), min(stage.batch_size, len(sentences)), replace=False)
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
                wrong = (place for place in ranked if not sentences.may_be_true(sentence, int(pool[place])))
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
        yield fits, text


def _start(scorer: JointScorer, fits: Fits) -> None:
    """Scale and bias for which right and wrong clips have logits of about the same size."""
    right, wrong = fits.score[:, 0].mean(), fits.score[:, 1:].mean()
    # The wrong clips are the best of a pool, so that they may score as high as the right ones, or higher.
    apart = (right - wrong).clamp(min=LEAST_APART)
    with torch.no_grad():
        scorer.scale.copy_(2 * FIRST_LOGIT / apart)
        scorer.bias.copy_(-FIRST_LOGIT * (right + wrong) / apart)


def _loss(logits: Tensor) -> Tensor:
    """Of logits `[Q, C]` whose first column is right."""
    belongs = torch.zeros_like(logits)
    belongs[:, 0] = 1
    alone = binary_cross_entropy_with_logits(logits, belongs, reduction="none")
    among = cross_entropy(logits, torch.zeros(len(logits), dtype=torch.long, device=logits.device))
    return among + (alone[:, 0].mean() + WRONG * alone[:, 1:].mean()) / 2
