"""Freezing: which weights are not trained."""

from __future__ import annotations

import difflib
import re
from collections.abc import Sequence
from fnmatch import fnmatchcase
from typing import Any

from prost.errors import BadConfig
from prost.model.retrieval_model import VISION_WEIGHTS, RetrievalModel

Freeze = int | tuple[str, ...]


def freeze(model: RetrievalModel[Any, Any], chosen: Freeze) -> None:
    """Freeze the chosen weights; all others are trained, including those that an earlier stage froze.

    Args:
        model: changed in place.
        chosen: parts by name (`clip.towers.vision_model`, `clip.*`, `frame_decoder.layers.[01]`), with everything
            inside them; or a number n, as in CLIP4Clip: the embeddings and the first n blocks of both towers. 0 and
            `()` freeze nothing.

    Raises:
        BadConfig: a name that no weight has, more blocks than the towers have, or no weight left to train.
    """
    names = [name for name, _ in model.named_parameters()]
    frozen = _first_blocks(model, names, chosen) if isinstance(chosen, int) else _by_name(names, chosen)
    for name, parameter in model.named_parameters():
        parameter.requires_grad_(name not in frozen)
    if len(frozen) == len(names):
        raise BadConfig("freeze: no weight is left to train", suggestion="name fewer parts")


def vision_is_frozen(model: RetrievalModel[Any, Any]) -> bool:
    """Whether the frame tokens of a video do not change during the training."""
    return not any(
        parameter.requires_grad
        for name, parameter in model.named_parameters()
        if name.startswith(VISION_WEIGHTS)
    )


def trained_parameters(model: RetrievalModel[Any, Any]) -> int:
    """Number of trained parameters."""
    return sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad)


def _first_blocks(model: RetrievalModel[Any, Any], names: list[str], blocks: int) -> set[str]:
    if blocks == 0:
        return set()
    deepest = max(model.config.clip.vision_layers, model.config.clip.text_layers)
    if blocks > deepest:
        raise BadConfig(f"freeze: {blocks} blocks", f"at most {deepest}")
    return {
        name
        for name in names
        if re.search(r"\.(embeddings|pre_layrnorm)\.", name)
        or ((block := re.search(r"\.encoder\.layers\.(\d+)\.", name)) and int(block[1]) < blocks)
    }


def _by_name(names: list[str], chosen: Sequence[str]) -> set[str]:
    frozen: set[str] = set()
    for part in chosen:
        inside = {name for name in names if fnmatchcase(name, part) or fnmatchcase(name, f"{part}.*")}
        if not inside:
            known = {name[:end] for name in names for end in _ends(name)}
            near = difflib.get_close_matches(part, sorted(known), n=1, cutoff=0.0)
            raise BadConfig(f"freeze: no weight is called {part!r}", suggestion=repr(near[0]))
        frozen |= inside
    return frozen


def _ends(name: str) -> list[int]:
    """The positions at which the parts of a dotted name end."""
    return [*(dot.start() for dot in re.finditer(r"\.", name)), len(name)]
