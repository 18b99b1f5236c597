"""State dicts of the authors' code: sizes from shapes, and our names for their keys.

Two codes wrote such files: GitHub's (`pytorch_model.bin.N`) and ModelScope's (`pytorch_model.bin` beside a
`configuration.json`). Both hold OpenAI's CLIP under `clip.`; vision blocks with token shift spell `attn.net.`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

from torch import Tensor

from prost.errors import MissingKeys

# Written by the authors' modules, never read by their forward pass.
UNUSED = (
    r"frame_prototype_weight\..*",
    r"transformerClip\..*",
    r"frame_position_embeddings\..*",
    r"(frame|event)_decoder\.event_decoder\.layers\.\d+\.self_attn_vis\..*",
    r"frame_decoder\.event_decoder\.layers\.\d+\.self_attn\..*",
    r"clip\.(input_resolution|context_length|vocab_size)",
)

_BLOCK = {
    "ln_1": "layer_norm1",
    "ln_2": "layer_norm2",
    "mlp.c_fc": "mlp.fc1",
    "mlp.c_proj": "mlp.fc2",
    "attn.out_proj": "self_attn.out_proj",
}
_TOWERS = {
    "logit_scale": "logit_scale",
    "visual.class_embedding": "vision_model.embeddings.class_embedding",
    "visual.conv1.weight": "vision_model.embeddings.patch_embedding.weight",
    "visual.positional_embedding": "vision_model.embeddings.position_embedding.weight",
    "visual.ln_pre.weight": "vision_model.pre_layrnorm.weight",
    "visual.ln_pre.bias": "vision_model.pre_layrnorm.bias",
    "visual.ln_post.weight": "vision_model.post_layernorm.weight",
    "visual.ln_post.bias": "vision_model.post_layernorm.bias",
    "token_embedding.weight": "text_model.embeddings.token_embedding.weight",
    "positional_embedding": "text_model.embeddings.position_embedding.weight",
    "ln_final.weight": "text_model.final_layer_norm.weight",
    "ln_final.bias": "text_model.final_layer_norm.bias",
}
# OpenAI keeps these as bare matrices applied from the right; a linear layer holds the transpose.
_TRANSPOSED = {"visual.proj": "visual_projection.weight", "text_projection": "text_projection.weight"}

_DECODER = {
    "V": "queries",
    "event_decoder.norm": "norm",
    "linear1": "feed_forward.inner",
    "linear2": "feed_forward.outer",
    "self_attn": "self_attention",
    "multihead_attn": "cross_attention",
}
_NORMS = {
    "frame": {"norm1": "norm_queries", "norm2": "norm_memory", "norm3": "norm_attended", "norm4": "norm_out"},
    "event": {
        "norm1": "norm_queries",
        "norm2": "norm_memory",
        "norm3": "norm_self",
        "norm4": "norm_attended",
        "norm5": "norm_out",
    },
}


def is_authors(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of the authors' ProST, of either code."""
    return any(key.startswith(("patch_prototype_weight.", "word_prototype_weight.")) for key in state)


def shape_of(state: Mapping[str, Tensor], key: str) -> tuple[int, ...]:
    """Read the shape of one tensor; MissingKeys says which is not there."""
    if key not in state:
        raise MissingKeys(f"the weights lack {key!r}", "a state dict as the authors' code writes it")
    return tuple(state[key].shape)


def count_blocks(state: Mapping[str, Tensor], pattern: str) -> int:
    """Count blocks: one more than the greatest number that a pattern finds in the keys."""
    found = [int(match[1]) for key in state if (match := re.match(pattern, key))]
    return max(found, default=-1) + 1


def clip_sizes(state: Mapping[str, Tensor]) -> dict[str, int]:
    """Read the sizes of CLIP's towers off a state dict that holds OpenAI's CLIP under `clip.`.

    Returns:
        Values for `CLIPShape`.

    Raises:
        MissingKeys: a tensor whose shape is needed is not there.
    """
    vision_width, _, patch, _ = shape_of(state, "clip.visual.conv1.weight")
    grid = round((shape_of(state, "clip.visual.positional_embedding")[0] - 1) ** 0.5)
    vocabulary, text_width = shape_of(state, "clip.token_embedding.weight")
    positions = shape_of(state, "clip.positional_embedding")[0]
    return {
        "image_size": grid * patch,
        "patch_size": patch,
        "vision_width": vision_width,
        "vision_layers": count_blocks(state, r"clip\.visual\.transformer\.resblocks\.(\d+)\."),
        "text_width": text_width,
        "text_layers": count_blocks(state, r"clip\.transformer\.resblocks\.(\d+)\."),
        "vocabulary": vocabulary,
        "text_positions": positions,
    }


def read_configuration(state: Mapping[str, Tensor]) -> dict[str, Any]:
    """Read the sizes off the shapes; what shapes do not tell gets the authors' defaults.

    Args:
        state: the authors' state dict.

    Returns:
        Values for `ModelConfig.parse`.

    Raises:
        MissingKeys: a tensor whose shape is needed is not there.
    """
    clip = clip_sizes(state)
    frames, width = shape_of(state, "frame_decoder.V")
    shifted = {
        int(match[1])
        for key in state
        if (match := re.match(r"clip\.visual\.transformer\.resblocks\.(\d+)\.attn\.net\.", key))
    }
    return {
        "clip": clip,
        "width": width,
        "frames": frames,
        "max_words": min(32, clip["text_positions"]),
        "object_prototypes": shape_of(state, "patch_prototype_weight.2.weight")[0] + 1,
        "phrase_prototypes": shape_of(state, "word_prototype_weight.2.weight")[0],
        "event_prototypes": shape_of(state, "event_decoder.V")[0],
        "frame_layers": count_blocks(state, r"frame_decoder\.event_decoder\.layers\.(\d+)\."),
        "event_layers": count_blocks(state, r"event_decoder\.event_decoder\.layers\.(\d+)\."),
        "token_shift_blocks": sorted(shifted)
        or [block for block in (10, 11) if block < clip["vision_layers"]],
        "token_shift_divisions": 14 if clip["image_size"] // clip["patch_size"] == 14 else 7,
        "mask_padding": False,
        "sparse_weights": "relu",
    }


def translate(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename every tensor to its name in our models.

    Args:
        state: the authors' state dict.

    Returns:
        The state dict of `ProST`, in which unknown keys keep their name; and the keys that were dropped, since no
        forward pass reads them.
    """
    translated: dict[str, Tensor] = {}
    dropped = []
    for key, tensor in state.items():
        if any(re.fullmatch(pattern, key) for pattern in UNUSED):
            dropped.append(key)
            continue
        for name, part in _translate(key, tensor):
            translated[name] = part
    return translated, dropped


def _translate(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if key.startswith("clip."):
        yield from ((f"clip.towers.{name}", part) for name, part in _tower(key.removeprefix("clip."), tensor))
    elif match := re.fullmatch(r"(patch|word)_prototype_weight\.(.+)", key):
        kind = {"patch": "object", "word": "phrase"}[match[1]]
        yield f"{kind}_prototypes.weights.mlp.{match[2]}", tensor
    elif match := re.fullmatch(r"(frame|event)_decoder\.(?:event_decoder\.layers\.(\d+)\.)?(.+)", key):
        yield _decoder(match[1], match[2], match[3]), tensor
    else:
        yield key, tensor


def _decoder(kind: str, layer: str | None, rest: str) -> str:
    names = {**_DECODER, **_NORMS[kind]}
    for theirs, ours in names.items():
        if rest == theirs or rest.startswith(theirs + "."):
            rest = ours + rest[len(theirs) :]
            break
    return ".".join(
        part for part in (f"{kind}_decoder", "layers" if layer else "", layer or "", rest) if part
    )


def _tower(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    """Rename OpenAI's tensors as `transformers.CLIPModel` does; the fused attention input is split into q, k and v."""
    match = re.fullmatch(r"(visual\.)?transformer\.resblocks\.(\d+)\.(.+)\.?(weight|bias)", key)
    if match is None:
        if key in _TRANSPOSED:
            yield _TRANSPOSED[key], tensor.T.contiguous()
        else:
            yield _TOWERS.get(key, key), tensor
        return
    tower = "vision_model" if match[1] else "text_model"
    block = f"{tower}.encoder.layers.{match[2]}"
    inside, kind = match[3].rstrip("._").replace("attn.net.", "attn."), match[4]
    if inside == "attn.in_proj":
        for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
            yield f"{block}.self_attn.{name}.{kind}", part
    else:
        yield f"{block}.{_BLOCK.get(inside, inside)}.{kind}", tensor
