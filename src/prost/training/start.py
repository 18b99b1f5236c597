"""The start of a training: random weights, a whole model, or the CLIP of a model in another architecture."""

from __future__ import annotations

import logging
from typing import Any

import torch

from prost.config import RetrievalConfig, TokenShiftConfig
from prost.data.toybox import vocabulary
from prost.errors import BadConfig
from prost.model.checkpoint import build, load
from prost.model.joint_scorer import JointScorer
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.temporal_transformer import TemporalTransformer
from prost.model.tokenizer import WordTokenizer, whole_words
from prost.training.recipe import Recipe

log = logging.getLogger("prost")

# Not taken from the start. Training cuts out the square in the middle, whatever the start was trained with.
OWN = frozenset({"architecture", "name", "image_fit"})


def starting_model(recipe: Recipe) -> RetrievalModel[Any, Any]:
    """Make the model of a recipe; random weights are drawn with the recipe's seed.

    Raises:
        BadConfig: the CLIP of `start` does not fit into the model, or an override does not fit `start`.
        MissingPath, CheckpointError: `start` does not exist, or is no model.
    """
    torch.manual_seed(recipe.seed)
    if recipe.start is None:
        assert recipe.model is not None
        tokenizer = whole_words(vocabulary())
        return build(sized_for(recipe.model, tokenizer), tokenizer)
    start = load(recipe.start, **recipe.overrides)
    if recipe.model is None:
        return _with_joint_scorer(start, recipe)
    if getattr(start.config, "open_clip", None) is not None:
        raise BadConfig(
            f"start {recipe.start} is run by open_clip, which gives no patch tokens in the space of the texts",
            "a start whose towers are ours, such as CLIP or SigLIP",
        )
    model = build(_completed(recipe.model, start.config, recipe.start), start.tokenizer)
    model.clip.load_state_dict(start.clip.state_dict())
    return model


def _with_joint_scorer(start: RetrievalModel[Any, Any], recipe: Recipe) -> RetrievalModel[Any, Any]:
    """The model with the joint scorer that the recipe trains: that of the start, or a new one of other sizes.

    A model that is trained further loses its scorer.

    Raises:
        BadConfig: a joint scorer for a model that is not a ProST.
    """
    if not isinstance(start, ProST):
        if recipe.joint.steps:
            raise BadConfig(f"joint with {recipe.start}, a {type(start).__name__}", "a ProST")
        return start
    sizes = recipe.joint.scorer if recipe.joint.steps else None
    if start.joint_scorer is not None and start.config.joint_scorer == sizes:
        log.info("the joint scorer of %s is trained further", recipe.start)
        return start
    if start.joint_scorer is not None and sizes is None:
        log.info("the joint scorer of %s is left out: it was trained for other prototypes", recipe.start)
    start.config = start.config.model_copy(update={"joint_scorer": sizes})
    start.joint_scorer = None if sizes is None else JointScorer(start.config)
    return start


def start_temporal_transformer(model: RetrievalModel[Any, Any]) -> bool:
    """Initialise the temporal transformer of a rival with CLIP's text blocks, as its authors do.

    Returns:
        Whether the model has a temporal transformer that they fit into.
    """
    transformer = getattr(model, "transformer", None)
    return isinstance(transformer, TemporalTransformer) and transformer.start_as_text(model.clip.towers)


def sized_for(config: RetrievalConfig, tokenizer: WordTokenizer) -> RetrievalConfig:
    """The configuration with a text tower that has an embedding for every word of a vocabulary."""
    return config.model_copy(
        update={"clip": config.clip.model_copy(update={"vocabulary": max(3, tokenizer.vocabulary)})}
    )


def _completed(wanted: RetrievalConfig, start: RetrievalConfig, origin: str) -> RetrievalConfig:
    """The configuration of a recipe, with the missing fields of the backbone taken from the start."""
    shared = (TokenShiftConfig.model_fields.keys() & type(start).model_fields.keys()) - OWN
    taken = {
        name: value
        for name, value in start.model_dump().items()
        if name in shared and name in type(wanted).model_fields
    }
    said = wanted.model_dump(exclude_unset=True)
    if "clip" in said:  # sizes that are missing are taken from the start, too
        said["clip"] = {**taken["clip"], **said["clip"]}
    config = type(wanted).parse({**taken, **said}, origin=f"model on {origin}")
    for name in ("clip", "width"):
        if getattr(config, name) != getattr(start, name):
            raise BadConfig(
                f"model.{name} differs from that of {origin}",
                f"{getattr(start, name)!r}",
                f"leave {name} out: it comes with the start",
            )
    return config
