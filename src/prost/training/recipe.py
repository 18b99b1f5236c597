"""Recipes: the YAML files that `prost train` reads."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from prost.config import JointScorerConfig, RetrievalConfig, StrictConfig, read_yaml
from prost.data.clip_sets import Epoch
from prost.data.video_reading import Sampling
from prost.errors import BadConfig
from prost.model.checkpoint import config_class
from prost.model.encoding import Precision
from prost.training.freezing import Freeze

# Decay of a moving average in Adam.
Beta = Annotated[float, Field(ge=0, lt=1)]


class StageConfig(StrictConfig):
    """One run of the optimiser; its length is given in steps or in epochs. The other defaults are the paper's.

    Attributes:
        steps: number of batches.
        epochs: number of passes over the data, which must be a fixed set.
        epoch: what an epoch shows once: each of the `videos`, with another of its captions in each epoch; or each of
            the `captions`, so that a video comes as often as it has captions. The authors of MSR-VTT's recipes count
            captions, about 20 for each video.
        warmup: fraction of the steps with a linear rise of the learning rates.
        batch_size: of all processes together; every text is compared with every video of the batch.
        micro_batch: number of videos that a process encodes at a time if the batch does not fit into memory. The
            gradient is that of the whole batch, at the price of a second forward pass (see `grad_cache`). None encodes
            all at once.
        activation_checkpointing: keep only the input of each vision block, and compute the rest again in the backward
            pass.
        freeze: the weights that are not trained, see `freezing.freeze`.
    """

    steps: int | None = Field(None, ge=0)
    epochs: int | None = Field(None, ge=1)
    epoch: Epoch = "videos"
    batch_size: int = Field(128, ge=2)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    clip_learning_rate: float = Field(1e-7, ge=0)
    weight_decay: float = Field(0.2, ge=0)
    betas: tuple[Beta, Beta] = (0.9, 0.98)
    warmup: float = Field(0.1, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)
    activation_checkpointing: bool = False
    freeze: Freeze = ()

    @model_validator(mode="after")
    def _one_length(self) -> Self:
        if (self.steps is None) == (self.epochs is None):
            raise ValueError("neither steps nor epochs" if self.steps is None else "both steps and epochs")
        if self.epochs is None and self.epoch != "videos":
            raise ValueError("epoch says what one of the epochs shows, but steps are counted: set epochs")
        return self


class JointStage(StrictConfig):
    """The training of a joint scorer for a finished model, see `joint_training`.

    Attributes:
        steps: number of batches; 0 trains no joint scorer.
        scorer: its sizes.
        sentences: of each clip at most.
        events: sentences beside them that tell one event of a whole drawn video.
        batch_size: sentences of a step.
        almost_true: fraction of them that are almost true of their clip: one thing in them is changed. Toybox only.
        videos: that a sentence is compared with: its own, and the wrong ones that score highest.
        pool: clips that are drawn for a step, among which the wrong ones are found.
        warmup: fraction of the steps with a linear rise of the learning rate.
    """

    steps: int = Field(0, ge=0)
    scorer: JointScorerConfig = JointScorerConfig()
    sentences: int = Field(3, ge=1)
    events: int = Field(0, ge=0)
    batch_size: int = Field(40, ge=1)
    almost_true: float = Field(0.0, ge=0, lt=1)
    videos: int = Field(20, ge=2)
    pool: int = Field(300, ge=2)
    learning_rate: float = Field(2e-3, gt=0)
    weight_decay: float = Field(0.02, ge=0)
    warmup: float = Field(0.05, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)


class ToyboxConfig(StrictConfig):
    """Training batches of Toybox.

    Attributes:
        grounding: weight of the grounding loss, which is added to the loss of the paper; see `grounding`.
        event_time: weight of the event-time loss of a ProST, which is added likewise; see `event_time`. It needs clips
            that are drawn for each step, whose events and times are known.
        order: weight of the order loss on twins, which is added to the loss of the paper; see `order`.
        moments: fraction of a batch that is one event of a video, cut closely and described alone.
        twins: fraction of a batch in order-swapped pairs, each the other's hardest negative.
        long: fraction of a batch that is a window of a longer video, described by one event.
        clips: number of clips of a fixed set to train on; None draws new clips for every step.
        workers: processes that render; 0 renders in the training process.
    """

    grounding: float = Field(0.5, ge=0)
    event_time: float = Field(0.0, ge=0)
    order: float = Field(0.0, ge=0)
    moments: float = Field(0.3, ge=0, le=1)
    twins: float = Field(0.3, ge=0, le=1)
    long: float = Field(0.15, ge=0, le=1)
    clips: int | None = Field(None, ge=2)
    workers: int = Field(1, ge=0)


class BenchmarkConfig(StrictConfig):
    """A benchmark, or own captioned videos.

    Attributes:
        name: such as `msrvtt-9k`, or `pairs`.
        folder: the folder of its annotations; for `pairs` the CSV or JSONL file.
        videos: the folder of its videos, if it is another one.
        allow_missing: train although videos are missing.
        sampling: how frames are chosen: `middles` of equal parts, or as the `authors` do.
        replace_failed: let another video replace one that cannot be decoded; otherwise it ends the training.
        workers: decoding processes.
    """

    name: str
    folder: Path
    videos: Path | None = None
    allow_missing: bool = False
    sampling: Sampling = "middles"
    replace_failed: bool = False
    workers: int = Field(1, ge=1)


class Recipe(StrictConfig):
    """A training, whose result is a model folder.

    Attributes:
        model: the configuration of the model, by its `architecture`. Fields that it lacks are taken from `start`.
        start: a model to start from: a bundled one, a folder, a weights file, a name on the hub. Together with `model`,
            only its CLIP and its vocabulary are used; alone, it is trained further.
        overrides: fields of the configuration of `start` to change, see `prost.load`; only without `model`.
        toybox: the data, if there is no benchmark.
        benchmark: the data.
        clip: the stage that trains a small CLIP on frames and captions of Toybox; left out with 0 steps.
        prost: the stage that trains the whole model, of any architecture, on videos.
        joint: the stage that trains a joint scorer for a model that stays as it is.
        cache_frame_tokens: with a frozen vision tower and a fixed set of clips, compute frame tokens only once.
            `memory` keeps them in memory; a folder keeps them on disk for all trainings with the same tower and clips.
        seed: of the weights and of all random draws.
        precision: of the forward pass, by autocast; `auto` is bf16 where the hardware supports it. Weights stay
            float32.
        validation: chooses the best step: a gallery of Toybox's val split, or a split of the benchmark. None means
            `toybox-400`, or the val split of the benchmark, or a held-out part of train if it has none.
        evaluate_every: steps between validations; None for an epoch where the stage counts epochs, otherwise 500.
        tensorboard: also write a log for TensorBoard.
    """

    model: SerializeAsAny[RetrievalConfig] | None = None
    start: str | None = None
    overrides: dict[str, Any] = Field(default_factory=dict)
    toybox: ToyboxConfig = ToyboxConfig()
    benchmark: BenchmarkConfig | None = None
    clip: StageConfig = StageConfig(steps=0)
    prost: StageConfig
    joint: JointStage = JointStage()
    cache_frame_tokens: str | None = Field(None, min_length=1)
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    validation: str | None = None
    evaluate_every: int | None = Field(None, ge=1)
    tensorboard: bool = False

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str = "recipe", within: str = "") -> Self:
        """Like `StrictConfig.parse`, with the model's part parsed by the configuration class of its architecture."""
        model = values.get("model")
        if isinstance(model, dict):
            values = {**values, "model": config_class(model, origin).parse(model, origin, "model")}
        return super().parse(values, origin, within)

    @model_validator(mode="after")
    def _check(self) -> Self:
        if self.model is None and self.start is None:
            raise ValueError("neither model nor start: one of them is needed")
        if self.overrides and self.model is not None:
            raise ValueError("overrides change the model of start: with model, set the fields there")
        if self.clip.epochs is not None:
            raise ValueError("clip: epochs, but its frames are drawn anew for each step: set clip.steps")
        fixed = self.benchmark is not None or self.toybox.clips is not None
        if self.cache_frame_tokens is not None and not fixed:
            raise ValueError("cache_frame_tokens needs a fixed set of clips: set toybox.clips or benchmark")
        if self.toybox.event_time and fixed:
            raise ValueError(
                "toybox.event_time needs clips that are drawn for each step: leave out toybox.clips and benchmark"
            )
        if self.prost.epochs is not None and not fixed:
            raise ValueError(
                "prost.epochs needs a fixed set of clips: set prost.steps, toybox.clips or benchmark"
            )
        if self.joint.steps and (self.model is not None or self.clip.steps or self.prost.steps != 0):
            raise ValueError(
                "joint trains a scorer for a finished model: set start, leave model out, and set prost.steps to 0"
            )
        if self.joint.steps and not fixed:
            raise ValueError("joint needs a fixed set of clips: set toybox.clips or benchmark")
        if self.prost.epoch == "captions" and self.benchmark is None:
            raise ValueError("prost.epoch: captions, but Toybox makes new captions each time: set videos")
        return self


def read_recipe(path: Path, changes: Mapping[str, Any] | None = None) -> Recipe:
    """Read a recipe.

    Args:
        path: a YAML file.
        changes: see `changed`.

    Raises:
        MissingPath: the file does not exist.
        BadConfig: no YAML, an unknown key (the nearest known one is named), a value out of range.
    """
    return Recipe.parse(changed(read_yaml(path), changes or {}), origin=str(path))


def changed(recipe: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """A recipe, as plain values, with other values at some dotted keys.

    Args:
        recipe: stays as it is.
        changes: by key; keys that the recipe lacks are added.

    Raises:
        BadConfig: a key inside a value that has no keys.

    >>> changed({"seed": 0, "prost": {"epochs": 5}}, {"prost.epochs": 1, "benchmark.folder": "data"})
    {'seed': 0, 'prost': {'epochs': 1}, 'benchmark': {'folder': 'data'}}
    """
    values = copy.deepcopy(dict(recipe))
    for key, value in changes.items():
        *way, last = key.split(".")
        place = values
        for part in way:
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                raise BadConfig(f"{key}: in the recipe, {part} is a value without keys of its own")
            place = inner
        place[last] = value
    return values
