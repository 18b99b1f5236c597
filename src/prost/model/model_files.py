"""Which files of a published repository make a model: the weights once, and the small files beside them."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import PurePosixPath

# Forms of weights, the preferred first. A repository often holds several of the same weights.
WEIGHT_FORMS = (
    r"model\.safetensors",
    r"model\.safetensors\.index\.json|model-\d+-of-\d+\.safetensors",
    r"open_clip_model\.safetensors",
    r"pytorch_model\.bin",
    r"pytorch_model\.bin\.index\.json|pytorch_model-\d+-of-\d+\.bin",
    r"open_clip_pytorch_model\.bin",
)
# Configurations and vocabularies, such as tokenizer.json, merges.txt, spiece.model, bpe_simple_vocab_16e6.txt.gz.
SMALL_FILES = r".*\.(json|txt|model)|bpe_.*\.txt\.gz"

VOCABULARIES = r"tokenizer\.json|vocab\.(txt|json)|bpe_.*\.txt\.gz"


def weight_files(names: Iterable[str]) -> list[str]:
    """The weights among the files of a repository: those of the preferred form.

    Args:
        names: paths in the repository; files in folders are left out.

    Returns:
        none if there is no form that is whole: of sharded weights the index and all shards are needed.

    >>> weight_files(["README.md", "pytorch_model.bin", "model.safetensors", "onnx/model.safetensors"])
    ['model.safetensors']
    >>> weight_files(["model.safetensors.index.json", "model-00001-of-00002.safetensors"])
    []
    """
    top = sorted(name for name in names if len(PurePosixPath(name).parts) == 1)
    for form in WEIGHT_FORMS:
        found = [name for name in top if re.fullmatch(form, name)]
        if found and _has_all_shards(found):
            return found
    return []


def has_vocabulary(names: Iterable[str]) -> bool:
    """Whether the vocabulary of a tokenizer is among the files of a model."""
    return any(re.fullmatch(VOCABULARIES, name) for name in names)


def files_of_model(names: Iterable[str]) -> list[str]:
    """The files of a repository that are needed to open its model, the weights last; none if it has no weights.

    >>> files_of_model(["README.md", "config.json", "pytorch_model.bin", "tf_model.h5", "vocab.txt"])
    ['config.json', 'vocab.txt', 'pytorch_model.bin']
    """
    names = sorted(names)
    weights = weight_files(names)
    if not weights:
        return []
    small = [
        name
        for name in names
        if len(PurePosixPath(name).parts) == 1
        and re.fullmatch(SMALL_FILES, name)
        and not name.endswith(".index.json")
    ]
    return [*small, *weights]


def _has_all_shards(found: list[str]) -> bool:
    counts = [re.search(r"-of-(\d+)\.", name) for name in found]
    shards = [int(count[1]) for count in counts if count]
    if not shards:
        return not found[0].endswith(".index.json")
    return len(shards) == shards[0] and len(found) == len(shards) + 1
