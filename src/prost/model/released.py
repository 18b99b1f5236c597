"""Released dual encoders: configurations and state dicts of `transformers`, OpenAI and open_clip, read as our own.

The towers are ours (`model/towers.py`), so that a start does not wait for `transformers`. Sizes are read off the
weights; what weights do not tell (heads, activation, eps) comes from `config.json`, which states only what differs from
the defaults of its class.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from torch import Tensor

from prost.config import CLIP_MEAN, CLIP_STD, read_json
from prost.errors import BadConfig, CheckpointError
from prost.model import authors
from prost.model.authors import count_blocks, shape_of
from prost.model.tokenizer import WordTokenizer

ACTIVATIONS = {
    "quick_gelu": "quick_gelu",
    "gelu": "gelu",
    "gelu_pytorch_tanh": "gelu_tanh",
    "gelu_new": "gelu_tanh",
}
HALF = (0.5, 0.5, 0.5)
# Written by older versions of `transformers` (position_ids), or read by the loss of SigLIP only.
UNUSED = re.compile(r"(text|vision)_model\.embeddings\.(position_ids|token_type_ids)|logit_bias")


@dataclass(frozen=True, kw_only=True)
class Family:
    """What the models of one class of `transformers` share.

    Attributes:
        name: in our configuration.
        vision, text: kinds of towers, see `TowerDesign`.
        vision_defaults, text_defaults: what its class assumes where `config.json` says nothing: heads, activation, eps.
        mean, std: normalisation of the pixels where `preprocessor_config.json` is absent.
        fit: how its training made pictures square, likewise.
    """

    name: Literal["clip", "metaclip2", "chinese_clip", "siglip"]
    vision: Literal["clip", "siglip"] = "clip"
    text: Literal["clip", "siglip", "bert"] = "clip"
    vision_defaults: tuple[int, str, float] = (12, "quick_gelu", 1e-5)
    text_defaults: tuple[int, str, float] = (8, "quick_gelu", 1e-5)
    mean: tuple[float, float, float] = CLIP_MEAN
    std: tuple[float, float, float] = CLIP_STD
    fit: Literal["crop", "stretch"] = "crop"


# By `model_type` in config.json.
FAMILIES = {
    "clip": Family(name="clip"),
    "metaclip_2": Family(name="metaclip2"),
    "chinese_clip": Family(
        name="chinese_clip", text="bert", text_defaults=(12, "gelu", 1e-12), fit="stretch"
    ),
    "siglip": Family(
        name="siglip",
        vision="siglip",
        text="siglip",
        vision_defaults=(12, "gelu_pytorch_tanh", 1e-6),
        text_defaults=(12, "gelu_pytorch_tanh", 1e-6),
        mean=HALF,
        std=HALF,
        fit="stretch",
    ),
}
# open_clip's words for how a picture becomes square.
OPEN_CLIP_FITS = {"shortest": "crop", "longest": "pad", "squash": "stretch"}
# Known models that are no dual encoders of single frames of one size, and why.
REFUSED = {
    "siglip2": "a NaFlex model, whose frames have patches in any number",
    "videoprism": "VideoPrism, whose frames see each other from the first temporal block on and have no text-space "
    "embedding of their own, so that there is nothing to put into the object slots",
}


def family_of(values: Mapping[str, Any], origin: str) -> Family:
    """Find the family of a `config.json` of `transformers`.

    Args:
        values: its keys and values.
        origin: where they came from, for error messages.

    Raises:
        BadConfig: no family that can be opened.
    """
    kind = values.get("model_type")
    if kind in FAMILIES:
        return FAMILIES[kind]
    if kind in REFUSED:
        fixed = "a fixed-size model, such as google/siglip2-base-patch16-224"
        raise BadConfig(f"{origin} is of {REFUSED[kind]}", fixed if kind == "siglip2" else "a dual encoder")
    raise BadConfig(f"{origin}: model_type {kind!r}", ", ".join(FAMILIES))


def read_transformers(
    values: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, tokenizer: WordTokenizer | None
) -> dict[str, Any]:
    """Read a folder of `transformers`.

    Args:
        values: what `config.json` says.
        state: the weights.
        folder: with `preprocessor_config.json` and `tokenizer_config.json`, if there are any.
        tokenizer: of the folder.

    Returns:
        Values for `DualEncoderConfig.parse`.

    Raises:
        BadConfig: a family, an activation or a preprocessing that cannot be opened.
        MissingKeys: a tensor whose shape is needed is not there.
    """
    origin = str(folder / "config.json")
    family = family_of(values, origin)
    vision_width, _, patch, _ = shape_of(state, "vision_model.embeddings.patch_embedding.weight")
    rows = shape_of(state, "vision_model.embeddings.position_embedding.weight")[0]
    grid = math.isqrt(rows - (family.vision == "clip"))
    words, positions = (
        ("word_embeddings", "position_embeddings")
        if family.text == "bert"
        else ("token_embedding", "position_embedding")
    )
    vocabulary, text_width = shape_of(state, f"text_model.embeddings.{words}.weight")
    text_positions = shape_of(state, f"text_model.embeddings.{positions}.weight")[0]
    blocks = "layer" if family.text == "bert" else "layers"
    inner = {
        "vision": shape_of(state, "vision_model.encoder.layers.0.mlp.fc1.weight")[0],
        "text": shape_of(
            state,
            "text_model.encoder.layer.0.intermediate.dense.weight"
            if family.text == "bert"
            else "text_model.encoder.layers.0.mlp.fc1.weight",
        )[0],
    }
    image_size = _tower_values(values, "vision").get("image_size", grid * patch)
    if not isinstance(image_size, int) or image_size // patch != grid:
        image_size = grid * patch
    projection = "text_model.head.weight" if family.text == "siglip" else "text_projection.weight"
    return {
        "architecture": "dual_encoder",
        "family": "siglip2" if family.name == "siglip" and _is_gemma(folder) else family.name,
        "clip": {
            "image_size": image_size,
            "patch_size": patch,
            "vision_width": vision_width,
            "vision_layers": count_blocks(state, r"vision_model\.encoder\.layers\.(\d+)\."),
            "text_width": text_width,
            "text_layers": count_blocks(state, rf"text_model\.encoder\.{blocks}\.(\d+)\."),
            "vocabulary": vocabulary,
            "text_positions": text_positions,
            "vision": _design(values, "vision", family, vision_width, inner["vision"], origin),
            "text": _design(values, "text", family, text_width, inner["text"], origin),
        },
        "width": shape_of(state, projection)[0],
        # BERT's 512 positions are far more than its captions had.
        "max_words": min(text_positions, CHINESE_WORDS) if family.text == "bert" else text_positions,
        **_preprocessing(folder, family),
        "text_padding": _padding(folder, family, tokenizer),
    }


# Words of a text in Chinese-CLIP's training.
CHINESE_WORDS = 52


def _tower_values(values: Mapping[str, Any], tower: str) -> dict[str, Any]:
    """What a `config.json` says of a tower. In old files `..._config_dict` overrules the rest, defaults included."""
    stated = values.get(f"{tower}_config") or {}
    overruling = values.get(f"{tower}_config_dict")
    return dict(overruling) if overruling else dict(stated)


def _design(
    values: Mapping[str, Any],
    tower: Literal["vision", "text"],
    family: Family,
    width: int,
    inner: int,
    origin: str,
) -> dict[str, Any]:
    heads, activation, eps = family.vision_defaults if tower == "vision" else family.text_defaults
    stated = _tower_values(values, tower)
    heads = stated.get("num_attention_heads", heads)
    activation = stated.get("hidden_act", activation)
    if activation not in ACTIVATIONS:
        raise BadConfig(f"{origin}: {tower}_config.hidden_act {activation!r}", ", ".join(ACTIVATIONS))
    if not isinstance(heads, int) or heads < 1 or width % heads:
        raise BadConfig(f"{origin}: {heads!r} attention heads in a {tower} tower of width {width}")
    return {
        "kind": family.vision if tower == "vision" else family.text,
        "head_width": width // heads,
        "mlp_width": None if inner == 4 * width else inner,
        "activation": ACTIVATIONS[activation],
        "eps": stated.get("layer_norm_eps", eps),
    }


def _preprocessing(folder: Path, family: Family) -> dict[str, Any]:
    """The normalisation of the pixels, and how pictures become square."""
    place = folder / "preprocessor_config.json"
    stated = read_json(place) if place.is_file() else {}
    return {
        "image_mean": stated.get("image_mean", family.mean),
        "image_std": stated.get("image_std", family.std),
        "image_fit": _fit(stated, family),
    }


def _fit(stated: Mapping[str, Any], family: Family) -> Literal["crop", "stretch"]:
    """How a preprocessor makes pictures square, from its values.

    A size of two sides stretches the picture to them. A size of a single number does so in some versions of
    `transformers` and not in others, so it counts only together with the cut of the square in the middle.
    """
    size = stated.get("size")
    if isinstance(size, dict):
        return "stretch" if {"height", "width"} <= size.keys() else "crop"
    return "crop" if stated.get("do_center_crop") else family.fit


def _tokenizer_config(folder: Path) -> dict[str, Any]:
    place = folder / "tokenizer_config.json"
    return read_json(place) if place.is_file() else {}


def _pad_token(folder: Path) -> str | None:
    named = _tokenizer_config(folder).get("pad_token")
    return named.get("content") if isinstance(named, dict) else named


def _is_gemma(folder: Path) -> bool:
    """Whether a SigLIP has the tokenizer of SigLIP 2."""
    kind = str(_tokenizer_config(folder).get("tokenizer_class", ""))
    return kind.startswith(("Gemma", "Siglip2"))


def _padding(folder: Path, family: Family, tokenizer: WordTokenizer | None) -> int:
    """The id that fills a text. Only SigLIP reads padded positions; its tokenizer names the token."""
    if family.text != "siglip":
        return 0
    named = _pad_token(folder)
    found = tokenizer.id_of(named) if named and tokenizer else None
    return found if found is not None else (0 if _is_gemma(folder) else 1)


def translate_transformers(state: Mapping[str, Tensor]) -> tuple[dict[str, Tensor], list[str]]:
    """Rename every tensor of a model of `transformers` to its name in our models.

    Returns:
        The state dict of `DualEncoder`, in which unknown keys keep their name; and the keys that were dropped, since no
        forward pass reads them.
    """
    translated: dict[str, Tensor] = {}
    dropped = []
    for key, tensor in state.items():
        if UNUSED.fullmatch(key):
            dropped.append(key)
            continue
        for name, part in _renamed(key, tensor):
            translated[f"clip.towers.{name}"] = part
    return translated, dropped


_BERT = {
    "embeddings.word_embeddings": "embeddings.token_embedding",
    "embeddings.position_embeddings": "embeddings.position_embedding",
    "embeddings.token_type_embeddings": "embeddings.type_embedding",
    "embeddings.LayerNorm": "embeddings.norm",
    "attention.self.query": "self_attn.q_proj",
    "attention.self.key": "self_attn.k_proj",
    "attention.self.value": "self_attn.v_proj",
    "attention.output.dense": "self_attn.out_proj",
    "attention.output.LayerNorm": "layer_norm1",
    "intermediate.dense": "mlp.fc1",
    "output.dense": "mlp.fc2",
    "output.LayerNorm": "layer_norm2",
}


def _renamed(key: str, tensor: Tensor) -> Iterator[tuple[str, Tensor]]:
    if key == "logit_scale":
        yield key, tensor.reshape(())
    elif key.startswith("text_model.head."):
        yield key.replace("text_model.head.", "text_projection."), tensor
    elif key == "vision_model.head.probe":
        yield key, tensor.flatten()
    elif match := re.fullmatch(r"vision_model\.head\.attention\.in_proj_(weight|bias)", key):
        for name, part in zip(("q_proj", "k_proj", "v_proj"), tensor.chunk(3), strict=True):
            yield f"vision_model.head.attention.{name}.{match[1]}", part
    elif key == "text_model.embeddings.token_type_embeddings.weight":
        yield "text_model.embeddings.type_embedding.weight", tensor[:1]
    elif match := re.fullmatch(r"text_model\.(encoder\.layer\.\d+\.)?(.+)\.(weight|bias)", key):
        block = (match[1] or "").replace(".layer.", ".layers.")
        yield f"text_model.{block}{_BERT.get(match[2], match[2])}.{match[3]}", tensor
    else:
        yield key, tensor


def is_openai(state: Mapping[str, Tensor]) -> bool:
    """Whether the keys are those of OpenAI's CLIP, with nothing before them."""
    return "visual.conv1.weight" in state and "text_projection" in state and "token_embedding.weight" in state


def read_openai(state: Mapping[str, Tensor]) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """Read a state dict of OpenAI's CLIP.

    Returns:
        Values for `DualEncoderConfig.parse`; the state dict of `DualEncoder`; and the keys that were dropped, since no
        forward pass reads them.

    Raises:
        CheckpointError: a ResNet.
        MissingKeys: a tensor whose shape is needed is not there.
    """
    if "visual.layer1.0.conv1.weight" in state:
        raise CheckpointError(
            "the weights are of a CLIP with a ResNet", "a vision transformer, such as ViT-B/32"
        )
    prefixed = {f"clip.{key}": tensor for key, tensor in state.items()}
    sizes = authors.clip_sizes(prefixed)
    values = {
        "architecture": "dual_encoder",
        "family": "clip",
        "clip": sizes,
        "width": shape_of(prefixed, "clip.text_projection")[1],
        "max_words": sizes["text_positions"],
    }
    return values, *authors.translate(prefixed)


# What a plain CLIP of open_clip states of its towers; any other choice makes another model, which open_clip runs.
_PLAIN_VISION = {"image_size", "layers", "width", "patch_size", "head_width", "mlp_ratio"}
_PLAIN_TEXT = {"context_length", "vocab_size", "width", "heads", "layers", "mlp_ratio"}
_PLAIN_MODEL = {"embed_dim", "vision_cfg", "text_cfg", "quick_gelu", "custom_text"}


def read_open_clip(
    values: Mapping[str, Any], state: Mapping[str, Tensor], folder: Path, tokenizer: WordTokenizer | None
) -> tuple[dict[str, Any], dict[str, Tensor], list[str]]:
    """Read a folder of open_clip. A plain CLIP gets our own towers; any other model is run by open_clip.

    Args:
        values: what `open_clip_config.json` says.
        state: the weights.
        folder: with `tokenizer_config.json`, if there is one.
        tokenizer: of the folder; cleaning that the model was trained with is added to it.

    Returns:
        Values for `DualEncoderConfig.parse`; the state dict of `DualEncoder`; and the keys that were dropped, since no
        forward pass reads them.

    Raises:
        BadConfig: no `model_cfg`.
        MissingKeys: a tensor whose shape is needed is not there.
    """
    model, pixels = values.get("model_cfg"), values.get("preprocess_cfg") or {}
    if not isinstance(model, dict) or not {"vision_cfg", "text_cfg", "embed_dim"} <= model.keys():
        raise BadConfig(f"{folder / 'open_clip_config.json'} has no model_cfg with both towers")
    vision, text = model["vision_cfg"], model["text_cfg"]
    prepared = {
        "image_mean": pixels.get("mean", CLIP_MEAN),
        "image_std": pixels.get("std", CLIP_STD),
        "image_fit": OPEN_CLIP_FITS.get(pixels.get("resize_mode", "shortest"), "crop"),
        "architecture": "dual_encoder",
        "width": model["embed_dim"],
        "max_words": text.get("context_length", 77),
    }
    plain = model.keys() <= _PLAIN_MODEL and vision.keys() <= _PLAIN_VISION and text.keys() <= _PLAIN_TEXT
    if plain and isinstance(vision.get("layers", 12), int):
        names = {re.sub(r"^text\.", "", key): tensor for key, tensor in state.items()}
        described, translated, dropped = read_openai(names)
        activation = "quick_gelu" if model.get("quick_gelu") else "gelu"
        designs = {
            "vision": {"head_width": vision.get("head_width", 64)},
            "text": {"head_width": text.get("width", 512) // text.get("heads", 8)},
        }
        for tower, key in (("vision", "visual.transformer"), ("text", "transformer")):
            inner, width = shape_of(names, f"{key}.resblocks.0.mlp.c_fc.weight")
            designs[tower] |= {"activation": activation, "mlp_width": None if inner == 4 * width else inner}
        return {**described, **prepared, "clip": {**described["clip"], **designs}}, translated, dropped
    cleaning = (text.get("tokenizer_kwargs") or {}).get("clean")
    if tokenizer is not None and cleaning == "canonicalize":
        tokenizer.normalise_as("siglip")
    size = vision.get("image_size", 224)
    shape = {
        "image_size": size,
        "patch_size": size,  # one for the whole frame, since patches are up to open_clip
        "vocabulary": text.get("vocab_size", 49408),
        "text_positions": prepared["max_words"],
    }
    named = _pad_token(folder)
    padding = tokenizer.id_of(named) if named and tokenizer and text.get("hf_tokenizer_name") else None
    described = {"family": "openclip", "open_clip": model, "clip": shape, "text_padding": padding or 0}
    return {**prepared, **described}, {f"clip.towers.{key}": tensor for key, tensor in state.items()}, []
