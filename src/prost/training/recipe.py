"""Recipes: what `prost train` reads, one YAML file a result."""

from __future__ import annotations

from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import Field

from prost.config import ModelConfig, StrictConfig
from prost.errors import BadConfig, MissingPath


class StageConfig(StrictConfig):
    """One run of the optimiser. The defaults are the paper's, but for `steps`."""

    steps: int = Field(ge=0)
    batch_size: int = Field(128, ge=2)
    learning_rate: float = Field(1e-4, gt=0)
    clip_learning_rate: float = Field(1e-7, ge=0)
    weight_decay: float = Field(0.2, ge=0)
    betas: tuple[float, float] = (0.9, 0.98)
    warmup: float = Field(0.1, ge=0, le=1)
    gradient_clip: float = Field(1.0, gt=0)


class ToyboxConfig(StrictConfig):
    """What a training batch of Toybox holds.

    Attributes:
        grounding: weight, beside the loss of the paper, of the agreement of what happens where with its sentence.
        moments: share of a batch that is one event of a video, cut closely and told alone.
        twins: share of a batch that comes in order-swapped pairs, each the other's hardest negative.
        long: share of a batch that is a window of a longer video, told by one event.
        workers: processes that render; 0 renders in the training process.
    """

    grounding: float = Field(0.5, ge=0)
    moments: float = Field(0.3, ge=0, le=1)
    twins: float = Field(0.3, ge=0, le=1)
    long: float = Field(0.15, ge=0, le=1)
    workers: int = Field(1, ge=0)


class Recipe(StrictConfig):
    """A training from nothing to a model folder.

    Attributes:
        model: the model's configuration; its vocabulary's size is filled in from the data.
        toybox: the data.
        clip: the stage that makes a small CLIP on frames and captions; none when it has 0 steps.
        prost: the stage that trains the whole on videos.
        precision: of the forward pass, by autocast; weights stay float32.
        validation: the gallery, of the val split, on which the best step is chosen.
        evaluate_every: steps between validations.
    """

    model: ModelConfig
    toybox: ToyboxConfig = ToyboxConfig()
    clip: StageConfig
    prost: StageConfig
    seed: int = 0
    precision: Literal["bf16", "fp32"] = "bf16"
    validation: str = "toybox-400"
    evaluate_every: int = Field(500, ge=1)


def read_recipe(path: Path) -> Recipe:
    """Read a recipe.

    Raises:
        MissingPath: there is no such file.
        BadConfig: no YAML, an unknown key (the nearest known one is named), a value out of range.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPath(f"recipe {path} does not exist", suggestion="see the folder recipes") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is no YAML ({error})") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path} holds a {type(values).__name__}", "keys and values")
    return Recipe.parse(values, origin=str(path))
