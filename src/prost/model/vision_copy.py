"""Another vision tower for a model: its modules can be changed, and all tensors are those of the model."""

from __future__ import annotations

import copy
from typing import Any

from prost.errors import UsageError
from prost.model.retrieval_model import RetrievalModel


def with_vision_copy(model: RetrievalModel[Any, Any]) -> RetrievalModel[Any, Any]:
    """A copy of a model that shares all tensors with it.

    Replace modules and parameters of the copy's vision tower, and change no tensor in place.

    Raises:
        UsageError: a model whose vision tower is run by open_clip.
    """
    if not hasattr(model.clip.towers, "vision_model"):
        raise UsageError("a vision tower that open_clip runs", "one of our own towers")
    return copy.deepcopy(
        model, memo={id(tensor): tensor for tensor in (*model.parameters(), *model.buffers())}
    )
