"""State dicts of the authors of CLIP4Clip and TS2-Net: sizes from shapes, and our names for their keys.

Both hold OpenAI's CLIP under `clip.`, which `authors.translate` can read. A state dict with nothing but CLIP, such as
OpenAI's released weights, is a CLIP4Clip `meanP`.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any, Literal

from torch import Tensor

from prost.model import authors

# Written by the authors' modules, never read by their forward pass.
UNUSED = {
    "clip4clip": (),
    "ts2net": (r"text_token_selector\..*", r"visual_prompt_encoder\..*"),
}
_SELECTOR = {"in_conv": "selector.scores.reduce", "out_conv": "selector.scores.score"}
_TEXT_BLOCKS = "clip.towers.text_model.encoder.layers."


def recognise(state: Mapping[str, Tensor]) -> Literal["clip4clip", "ts2net"] | None:
    """Find which of the two models a state dict is of; None for the authors' ProST, for ours, and for anything else."""
    if authors.is_authors(state) or "clip.visual.proj" not in state:
        return None
    return "ts2net" if any(key.startswith("visual_token_selector.") for key in state) else "clip4clip"


def read_configuration(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the sizes off the shapes; what shapes do not tell (frames, words) gets the authors' defaults.

    Args:
        state: an authors' state dict that `recognise` knows.

    Returns:
        Values for `CLIP4ClipConfig.parse` or `TS2NetConfig.parse`; `architecture` says which.

    Raises:
        MissingKeys: a tensor whose shape is needed is not there.
    """
    clip = authors.clip_sizes(state)
    values: dict[str, Any] = {
        "architecture": recognise(state),
        "clip": clip,
        "width": authors.shape_of(state, "clip.text_projection")[1],
        "max_words": min(32, clip["text_positions"]),
    }
    sequence = any(key.startswith("transformerClip.") for key in state)
    if sequence:
        values["temporal_layers"] = authors.count_blocks(state, r"transformerClip\.resblocks\.(\d+)\.")
        values["positions"] = authors.shape_of(state, "frame_position_embeddings.weight")[0]
    if values["architecture"] == "ts2net":
        values["token_shift_blocks"] = [block for block in (10, 11) if block < clip["vision_layers"]]
    elif sequence:
        values["temporal"] = "seqTransf"
    elif any(key.startswith("lstm_visual.") for key in state):
        values["temporal"] = "seqLSTM"
    return values


def translate(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename every tensor to its name in our models.

    Args:
        state: an authors' state dict that `recognise` knows.

    Returns:
        The state dict of `CLIP4Clip` or `TS2Net`, in which unknown keys keep their name; and the keys that were
        dropped, since no forward pass reads them.
    """
    architecture = recognise(state)
    assert architecture is not None
    unused = list(UNUSED[architecture])
    if any(key.startswith("lstm_visual.") for key in state):
        unused.append(
            r"frame_position_embeddings\..*"
        )  # made for both sequence models, read by the transformer only
    translated, dropped = authors.translate(
        {key: tensor for key, tensor in state.items() if key.startswith("clip.")}
    )
    for key, tensor in state.items():
        if key.startswith("clip."):
            continue
        if any(re.fullmatch(pattern, key) for pattern in unused):
            dropped.append(key)
        elif key.startswith("transformerClip.resblocks."):
            # The same blocks as CLIP's text tower, under another roof: named alike there, and so here.
            blocks, _ = authors.translate({key.replace("transformerClip.", "clip.transformer."): tensor})
            translated |= {
                name.replace(_TEXT_BLOCKS, "transformer.layers."): part for name, part in blocks.items()
            }
        else:
            translated[_name(key)] = tensor
    return translated, dropped


def _name(key: str) -> str:
    if key == "frame_position_embeddings.weight":
        return "transformer.positions.weight"
    if match := re.fullmatch(r"visual_token_selector\.score_predictor\.(in_conv|out_conv)\.(.+)", key):
        return f"{_SELECTOR[match[1]]}.{match[2]}"
    return re.sub(r"^lstm_visual\.", "lstm.", key)
