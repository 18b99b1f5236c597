"""Tiny dual encoders with random weights, written by `transformers` itself into folders such as those of the hub."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from tokenizers import Regex, Tokenizer, models, normalizers, pre_tokenizers, processors
from transformers import (
    BertTokenizer,
    ChineseCLIPConfig,
    ChineseCLIPModel,
    CLIPConfig,
    CLIPModel,
    MetaClip2Config,
    MetaClip2Model,
    PreTrainedModel,
    PreTrainedTokenizerFast,
    Siglip2Tokenizer,
    SiglipConfig,
    SiglipModel,
    XLMRobertaTokenizer,
)

LETTERS = "abcdefghijklmnopqrstuvwxyz"
WORDS = ["dog", "red", "ball", "falls", "cat", "the", "a", "runs", "night"]
VISION = {
    "hidden_size": 48,
    "intermediate_size": 80,
    "num_hidden_layers": 3,
    "image_size": 32,
    "patch_size": 8,
}
TEXT = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 2}


@dataclass(frozen=True, kw_only=True)
class Released:
    """A model of `transformers` with its own tokenizer, and the way its documentation encodes texts."""

    model: PreTrainedModel
    tokenizer: Any
    # How texts are padded in the family's documentation.
    padding: dict[str, Any]

    @torch.no_grad()
    def texts(self, sentences: list[str]) -> torch.Tensor:
        """The library's own embeddings of sentences `[B, D]`."""
        inputs = self.tokenizer(sentences, return_tensors="pt", **self.padding)
        return self.model.get_text_features(**inputs).pooler_output

    @torch.no_grad()
    def frames(self, pixels: torch.Tensor) -> torch.Tensor:
        """The library's own embeddings of frames `[N, D]`."""
        return self.model.get_image_features(pixel_values=pixels).pooler_output

    def save(self, folder: Path) -> None:
        """Write model and tokenizer."""
        self.model.save_pretrained(folder)
        self.tokenizer.save_pretrained(folder)


def scatter(model: PreTrainedModel) -> PreTrainedModel:
    """Move every weight, so that no bias is zero and no norm is the identity."""
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def towers(vocabulary: int, positions: int, **text: Any) -> dict[str, Any]:
    """Configurations of both towers, with heads that are not 64 wide."""
    return {
        "vision_config": {**VISION, "num_attention_heads": 3},
        "text_config": {
            **TEXT,
            "num_attention_heads": 5,
            "vocab_size": vocabulary,
            "max_position_embeddings": positions,
            **text,
        },
    }


def clip() -> Released:
    """CLIP with GELU, as open models of that class have."""
    specials = ["<|startoftext|>", "<|endoftext|>"]
    ids = {token: n for n, token in enumerate([*LETTERS, *(x + "</w>" for x in LETTERS + "!."), *specials])}
    tokenizer = Tokenizer(models.BPE(ids, [], end_of_word_suffix="</w>", unk_token="<|endoftext|>"))
    tokenizer.normalizer = normalizers.Lowercase()
    tokenizer.pre_tokenizer = pre_tokenizers.Whitespace()
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|startoftext|> $A <|endoftext|>", special_tokens=[(name, ids[name]) for name in specials]
    )
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="<|endoftext|>", bos_token=specials[0], eos_token=specials[1]
    )
    text = {"bos_token_id": ids[specials[0]], "eos_token_id": ids[specials[1]], "hidden_act": "gelu"}
    config = CLIPConfig(projection_dim=24, **towers(len(ids), 20, pad_token_id=0, **text))
    padding = {"padding": True, "truncation": True, "max_length": 20}
    return Released(model=scatter(CLIPModel(config)), tokenizer=fast, padding=padding)


def metaclip2() -> Released:
    """MetaCLIP 2 with a sentencepiece vocabulary such as XLM-V's."""
    pieces = ["<s>", "<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS), *LETTERS, "<mask>"]
    scores = [(piece, -1.0 if piece[1:] in WORDS else -9.0) for piece in pieces]
    tokenizer = XLMRobertaTokenizer(vocab=scores)
    config = MetaClip2Config(
        projection_dim=24, **towers(len(pieces), 20, bos_token_id=0, eos_token_id=2, pad_token_id=1)
    )
    padding = {"padding": "max_length", "truncation": True, "max_length": 20}
    return Released(model=scatter(MetaClip2Model(config)), tokenizer=tokenizer, padding=padding)


def chinese_clip() -> Released:
    """Chinese-CLIP with WordPiece."""
    tokens = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"一只狗在跑红球猫", *WORDS, *LETTERS]
    tokenizer = BertTokenizer(vocab={token: n for n, token in enumerate(tokens)})
    config = ChineseCLIPConfig(projection_dim=24, **towers(len(tokens), 60))
    padding = {"padding": True, "truncation": True, "max_length": 52}
    return Released(model=scatter(ChineseCLIPModel(config)), tokenizer=tokenizer, padding=padding)


def _siglip_model(vocabulary: int, **text: Any) -> PreTrainedModel:
    config = SiglipConfig(**towers(vocabulary, 64, projection_size=48, **text))
    # The text tower is narrower than the frames' space, so that its projection is seen.
    return scatter(SiglipModel(config))


def siglip() -> Released:
    """SigLIP with a sentencepiece vocabulary such as T5's. `transformers` reads its own with sentencepiece only."""
    pieces = ["<pad>", "</s>", "<unk>", "▁", *(f"▁{word}" for word in WORDS), *LETTERS]
    scores = [(piece, -1.0 if piece[1:] in WORDS else -9.0) for piece in pieces]
    tokenizer = Tokenizer(models.Unigram(scores, unk_id=2))
    # What SiglipTokenizer.canonicalize_text does.
    tokenizer.normalizer = normalizers.Sequence(
        [
            normalizers.Lowercase(),
            normalizers.Replace(Regex(r"[!-/:-@\[-`{-~]"), ""),
            normalizers.Replace(Regex(r"\s+"), " "),
            normalizers.Strip(),
        ]
    )
    tokenizer.pre_tokenizer = pre_tokenizers.Metaspace()
    tokenizer.post_processor = processors.TemplateProcessing(single="$A </s>", special_tokens=[("</s>", 1)])
    fast = PreTrainedTokenizerFast(
        tokenizer_object=tokenizer, pad_token="</s>", eos_token="</s>", unk_token="<unk>",
        model_input_names=["input_ids"],
    )  # fmt: skip
    padding = {"padding": "max_length", "truncation": True, "max_length": 64}
    return Released(model=_siglip_model(len(pieces)), tokenizer=fast, padding=padding)


def siglip2() -> Released:
    """SigLIP 2 of a fixed size, which is a `SiglipModel` with Gemma's kind of vocabulary."""
    tokens = [
        "<pad>",
        "<eos>",
        "<bos>",
        "<unk>",
        "<mask>",
        "▁",
        *LETTERS,
        ".",
        "!",
        *(f"▁{x}" for x in LETTERS),
    ]
    tokens += [f"<0x{byte:02X}>" for byte in range(256)]
    merges = [("▁", letter) for letter in LETTERS]
    tokenizer = Siglip2Tokenizer(
        vocab={token: n for n, token in enumerate(tokens)}, merges=merges, padding_side="right"
    )
    tokenizer.backend_tokenizer.post_processor = processors.TemplateProcessing(
        single="$A <eos>", special_tokens=[("<eos>", 1)]
    )
    tokenizer.model_input_names = ["input_ids"]
    padding = {"padding": "max_length", "truncation": True, "max_length": 64}
    return Released(model=_siglip_model(len(tokens)), tokenizer=tokenizer, padding=padding)


FAMILIES: dict[str, Callable[[], Released]] = {
    "clip": clip,
    "metaclip2": metaclip2,
    "chinese_clip": chinese_clip,
    "siglip": siglip,
    "siglip2": siglip2,
}


def written(family: str, folder: Path) -> Path:
    """Write the tiny model of a family into a folder below, whose name is the family; always the same weights."""
    place = folder / family
    with torch.random.fork_rng():
        torch.manual_seed(0)
        FAMILIES[family]().save(place)
    return place
