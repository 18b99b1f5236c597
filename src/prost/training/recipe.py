"""Recipes: what `prost train` reads, one YAML file a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Self

from pydantic import Field, SerializeAsAny, model_validator

from prost.config import RetrievalConfig, StrictConfig, read_yaml
from prost.data.video_reading import Sampling
from prost.model.checkpoint import config_class
from prost.model.encoding import Precision
from prost.training.freezing import Freeze


class StageConfig(StrictConfig):
    """One run of the optimiser. The defaults are the paper's, but for `steps`.

    Attributes:
        batch_size: of all processes together; every text is compared with every video of it.
        micro_batch: videos that a process encodes at a time, when memory does not hold the batch: the gradient is that
            of the whole batch, for a second forward pass (see `grad_cache`). None encodes all at once.
        activation_checkpointing: keep only the input of each vision block, and compute the rest again when it is used.
        freeze: what stays as it is, see `freezing.freeze`.
    """

    steps: int = Field(ge=0)
    batch_size: int = Field(128, ge=2)
    micro_batch: int | None = Field(None, ge=1)
    learning_rate: float = Field(1e-4, gt=0)
    clip_learning_rate: float = Field(1e-7, ge=0)
    weight_decay: float = Field(0.2, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(0.1, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)
    activation_checkpointing: bool = False
    freeze: Freeze = ()


class ToyboxConfig(StrictConfig):
    """What a training batch of Toybox holds.

    Attributes:
        grounding: weight, beside the loss of the paper, of the agreement of what happens where with its sentence.
        order: weight, beside the loss of the paper, of each twin's sentence keeping to its own video.
        moments: share of a batch that is one event of a video, cut closely and told alone.
        twins: share of a batch that comes in order-swapped pairs, each the other's hardest negative.
        long: share of a batch that is a window of a longer video, told by one event.
        clips: how many clips there are to train on, again and again; None draws new ones for every step.
        workers: processes that render; 0 renders in the training process.
    """

    grounding: float = Field(0.5, ge=0)
    order: float = Field(0.0, ge=0)
    moments: float = Field(0.3, ge=0, le=1)
    twins: float = Field(0.3, ge=0, le=1)
    long: float = Field(0.15, ge=0, le=1)
    clips: int | None = Field(None, ge=2)
    workers: int = Field(1, ge=0)


class BenchmarkConfig(StrictConfig):
    """A benchmark, or one's own captioned videos.

    Attributes:
        name: `msrvtt-9k` and the like, or `pairs`.
        folder: where its annotations lie; for `pairs` the CSV or JSONL file.
        videos: where its videos lie, if not there.
        allow_missing: train on what is there although videos are missing.
        sampling: how frames are chosen: `middles` of equal parts, or as the `authors` do.
        replace_failed: let another video take the place of one that cannot be decoded; else it ends the training.
        workers: processes that decode.
    """

    name: str
    folder: Path
    videos: Path | None = None
    allow_missing: bool = False
    sampling: Sampling = "middles"
    replace_failed: bool = False
    workers: int = Field(1, ge=1)


class Recipe(StrictConfig):
    """A training that ends in a model folder.

    Attributes:
        model: the model's configuration, by its `architecture`. What `start` has and it leaves out is taken from there.
        start: a model to begin with: a bundled one, a folder, a weights file, a name on the hub. Together with `model`
            only its CLIP and its vocabulary are taken over; alone, it is trained further as it is.
        toybox: the data, where no benchmark is named.
        benchmark: the data.
        clip: the stage that makes a small CLIP on frames and captions of Toybox; none when it has 0 steps.
        prost: the stage that trains the whole, whatever its architecture, on videos.
        cache_frame_tokens: with a frozen vision tower and a fixed set of clips, compute frame tokens once: `memory`
            keeps them there, a folder keeps them on disk, for every training with the same tower and clips.
        seed: of the weights and of every draw.
        precision: of the forward pass, by autocast; `auto` is bf16 where the hardware has it. Weights stay float32.
        validation: what the best step is chosen on: a gallery of Toybox's val split; or a split of the benchmark. None
            is `toybox-400`; or the benchmark's val split, and where it has none, a part of train kept apart.
        evaluate_every: steps between validations.
        tensorboard: write the log for TensorBoard too.
    """

    model: SerializeAsAny[RetrievalConfig] | None = None
    start: str | None = None
    toybox: ToyboxConfig = ToyboxConfig()
    benchmark: BenchmarkConfig | None = None
    clip: StageConfig = StageConfig(steps=0)
    prost: StageConfig
    cache_frame_tokens: str | None = None
    seed: int = Field(0, ge=0)
    precision: Precision = "auto"
    validation: str | None = None
    evaluate_every: int = Field(500, ge=1)
    tensorboard: bool = False

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str = "recipe", within: str = "") -> Self:
        """As `StrictConfig.parse`; the model's part is read by the configuration of its architecture."""
        model = values.get("model")
        if isinstance(model, dict):
            values = {**values, "model": config_class(model, origin).parse(model, origin, "model")}
        return super().parse(values, origin, within)

    @model_validator(mode="after")
    def _fits_together(self) -> Self:
        if self.model is None and self.start is None:
            raise ValueError("neither model nor start: say what is to be trained")
        if self.cache_frame_tokens is not None and self.benchmark is None and self.toybox.clips is None:
            raise ValueError("cache_frame_tokens needs a fixed set of clips: say toybox.clips or benchmark")
        return self


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        MissingPath: there is no such file.
        BadConfig: no YAML, an unknown key (the nearest known one is named), a value out of range.
    """
    return Recipe.parse(read_yaml(path), origin=str(path))
