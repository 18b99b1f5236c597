"""The one door to weights: `load` opens every form of checkpoint, `save` writes ours.

Our form is a folder: `config.json` (a `ModelConfig`), `model.safetensors`, `tokenizer.json`.
"""

from __future__ import annotations

import logging
import os
import pickle
import re
from collections.abc import Callable, Mapping
from importlib import resources
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from prost.config import ModelConfig, RetrievalConfig, read_json
from prost.errors import (
    BadConfig,
    CheckpointError,
    MissingKeys,
    MissingPath,
    ShapeMismatch,
    StorageError,
    UnexpectedKeys,
    UsageError,
)
from prost.model import authors, rivals
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import WordTokenizer, find_tokenizer
from prost.model.ts2net import TS2Net, TS2NetConfig

CONFIG, WEIGHTS = "config.json", "model.safetensors"
# What `architecture` in a configuration stands for; one without the word is ProST's.
ARCHITECTURES: dict[
    str, tuple[type[RetrievalConfig], Callable[[Any, WordTokenizer | None], RetrievalModel[Any, Any]]]
] = {
    "prost": (ModelConfig, ProST),
    "clip4clip": (CLIP4ClipConfig, CLIP4Clip),
    "ts2net": (TS2NetConfig, TS2Net),
}
BUNDLED = ("toybox",)
HUB_FILES = [
    CONFIG,
    WEIGHTS,
    "tokenizer.json",
    "vocab.json",
    "merges.txt",
    "pytorch_model.bin",
    "configuration.json",
]

log = logging.getLogger("prost")


def load(name_or_path: str | os.PathLike[str], **overrides: Any) -> RetrievalModel[Any, Any]:
    """Open a model, ready to encode: eval mode, float32, on the CPU.

    Args:
        name_or_path: `"toybox"` (bundled); a folder of ours; the authors' file (`pytorch_model.bin`,
            `pytorch_model.bin.4`, `.pt`) or a folder that holds one; or `owner/name` on the Hugging Face hub, which is
            downloaded only when it is not in the local cache, and says so.
        overrides: fields of `ModelConfig` to change, for what shapes do not tell (`max_words=64`,
            `object_phrase_weight=1.0`, `token_shift_divisions=14`).

    Raises:
        MissingPath: nothing is there.
        CheckpointError: the weights cannot become a model; missing, unexpected and misshapen keys are named.
        BadConfig: an override that no model has.
    """
    place = _find(os.fspath(name_or_path))
    if place.is_dir():
        weights = _weights_of(place)
        described = place / CONFIG if weights.name == WEIGHTS else None
    else:
        weights, described = place, None
    state = _read(weights)
    if described is not None:
        values, dropped = read_json(described), list[str]()
    elif authors.is_authors(state):
        values = {"name": _name_of(place), **authors.read_configuration(state), **_modelscope(place)}
        state, dropped = authors.translate(state)
    elif rivals.recognise(state):
        values = {"name": _name_of(place), **rivals.read_configuration(state)}
        state, dropped = rivals.translate(state)
    else:
        raise CheckpointError(
            f"{weights} holds no model ({_some(list(state))})",
            "a folder with config.json and model.safetensors, or a state dict of the authors' code",
        )
    origin = str(described or weights)
    config = config_class(values, origin).parse({**values, **overrides}, origin)
    tokenizer = find_tokenizer(place if place.is_dir() else place.parent)
    if tokenizer is not None and tokenizer.vocabulary > config.clip.vocabulary:
        raise CheckpointError(
            f"the vocabulary beside {weights} has {tokenizer.vocabulary} words, the weights {config.clip.vocabulary}",
            suggestion="take the tokenizer files that came with the weights",
        )
    model = build(config, tokenizer)
    _fill(model, state, weights)
    if dropped:
        names = ", ".join(dropped)
        log.info("%s: %d tensors dropped, which no forward pass reads: %s", weights, len(dropped), names)
    return model.eval()


def config_class(values: Mapping[str, Any], origin: str) -> type[RetrievalConfig]:
    """The configuration that values are of, by their `architecture`; without the word they are ProST's.

    Raises:
        BadConfig: an architecture that there is not.
    """
    architecture = values.get("architecture", "prost")
    if architecture not in ARCHITECTURES:
        raise BadConfig(f"{origin}: architecture {architecture!r}", ", ".join(ARCHITECTURES))
    return ARCHITECTURES[architecture][0]


def build(config: RetrievalConfig, tokenizer: WordTokenizer | None) -> RetrievalModel[Any, Any]:
    """A model of random weights."""
    model_class = next(model for known, model in ARCHITECTURES.values() if type(config) is known)
    return model_class(config, tokenizer)


def load_prost(name_or_path: str | os.PathLike[str], **overrides: Any) -> ProST:
    """As `load`, for what needs prototypes: a library, an explanation.

    Raises:
        UsageError: the model is a rival.
    """
    model = load(name_or_path, **overrides)
    if not isinstance(model, ProST):
        raise UsageError(
            f"{os.fspath(name_or_path)} is a {type(model).__name__}",
            "a ProST: only it makes prototypes to search",
        )
    return model


def save(model: RetrievalModel[Any, Any], folder: str | os.PathLike[str], half: bool = False) -> None:
    """Write a model as a folder that `load` opens.

    Args:
        model: what to write.
        folder: made if absent.
        half: store float16, half the size; `load` gives float32 again.

    Raises:
        StorageError: no space, no permission.
    """
    folder = Path(folder)
    kept = {
        key: tensor.detach().cpu().to(torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
        for key, tensor in model.state_dict().items()
    }
    try:
        folder.mkdir(parents=True, exist_ok=True)
        partial = folder / f"{WEIGHTS}.partial"
        save_file({key: tensor.contiguous() for key, tensor in kept.items()}, partial)
        (folder / CONFIG).write_text(model.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
        if model.tokenizer is not None:
            model.tokenizer.save(folder)
        os.replace(partial, folder / WEIGHTS)
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"the model cannot be written to {folder} ({error})") from None


def _find(name_or_path: str) -> Path:
    """Turn a name into a file or folder on this machine."""
    # A bundled name comes before a folder that happens to be called so; `./toybox` means the folder.
    if name_or_path in BUNDLED:
        bundled = Path(str(resources.files("prost") / "models" / name_or_path))
        if not (bundled / WEIGHTS).is_file():
            raise MissingPath(
                f"the bundled model {name_or_path!r} is not in this installation",
                suggestion="reinstall prost",
            )
        return bundled
    path = Path(name_or_path).expanduser()
    if path.exists():
        return path
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name_or_path) and not path.parent.exists():
        return _from_hub(name_or_path)
    raise MissingPath(
        f"{name_or_path} does not exist",
        f"a folder, a weights file, a bundled model ({', '.join(BUNDLED)}), or owner/name on the hub",
    )


def _from_hub(name: str) -> Path:
    from huggingface_hub import snapshot_download

    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES, local_files_only=True))
    except Exception:  # not cached yet: the library has several errors for that
        log.warning("%s is not in the local cache: downloading it", name)
    try:
        return Path(snapshot_download(name, allow_patterns=HUB_FILES))
    except (
        Exception
    ) as error:  # no network, no such repository, no permission: the library has a dozen of them
        raise CheckpointError(
            f"{name} is no local path and cannot be fetched from the hub ({_first_line(error)})",
            suggestion="check the name and the network, or download it yourself and give the folder",
        ) from None


def _weights_of(folder: Path) -> Path:
    """The weights of a folder: ours, else the authors'; of several epochs, none is chosen silently."""
    if (folder / WEIGHTS).is_file():
        if not (folder / CONFIG).is_file():
            raise CheckpointError(
                f"{folder} holds {WEIGHTS} without {CONFIG}", suggestion="copy config.json there too"
            )
        return folder / WEIGHTS
    found = sorted(
        path for path in folder.iterdir() if re.fullmatch(r"pytorch_model\.bin(\.\d+)?", path.name)
    )
    if len(found) == 1:
        return found[0]
    if (folder / "pytorch_model.bin") in found:
        return folder / "pytorch_model.bin"
    if found:
        raise CheckpointError(
            f"{folder} holds {len(found)} checkpoints", "one of them", f"give the file, such as {found[-1]}"
        )
    raise CheckpointError(
        f"{folder} holds no weights", "model.safetensors with config.json, or pytorch_model.bin"
    )


def _read(path: Path) -> dict[str, Tensor]:
    """Read tensors without running any code that a pickle may carry."""
    try:
        if path.suffix == ".safetensors":
            return load_file(path)
        state = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} is no plain state dict (it is damaged, or it would run code on loading)",
            "tensors by name, as torch.save(model.state_dict(), path) writes",
        ) from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error})") from None
    except (RuntimeError, EOFError, ValueError, safetensors.SafetensorError) as error:
        raise CheckpointError(
            f"{path} is damaged ({_first_line(error)})", suggestion="copy it anew"
        ) from None
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(
            f"{path} holds a {type(state).__name__} that is no state dict", "tensors by name"
        )
    return dict(state)


def _name_of(place: Path) -> str:
    return place.name if place.is_dir() else place.parent.name or place.name


def _modelscope(place: Path) -> dict[str, Any]:
    """What ModelScope's `configuration.json` says beyond the shapes: the number of words."""
    beside = (place if place.is_dir() else place.parent) / "configuration.json"
    if not beside.is_file():
        return {}
    words = read_json(beside).get("paras", {}).get("max_words")
    return {"max_words": words} if isinstance(words, int) else {}


def _fill(model: torch.nn.Module, state: Mapping[str, Tensor], origin: Path) -> None:
    """Put tensors in their places, all of them, or say by name what does not fit."""
    places = model.state_dict()
    if missing := sorted(places.keys() - state.keys()):
        raise MissingKeys(
            f"{origin} lacks {_some(missing)}", "every tensor of the model", "copy or export it anew"
        )
    if unexpected := sorted(state.keys() - places.keys()):
        raise UnexpectedKeys(f"{origin} holds tensors that the model has no place for: {_some(unexpected)}")
    wrong = [key for key in places if places[key].shape != state[key].shape]
    if wrong:
        key = wrong[0]
        more = f" and {len(wrong) - 1} more" if len(wrong) > 1 else ""
        raise ShapeMismatch(
            f"{origin}: {key} has shape {list(state[key].shape)}{more}",
            f"{list(places[key].shape)}",
            "check that config.json belongs to these weights",
        )
    model.load_state_dict({key: tensor.float() for key, tensor in state.items()})


def _some(names: list[str], most: int = 6) -> str:
    """List names in a line, the first few in full."""
    listed = ", ".join(names[:most])
    return listed if len(names) <= most else f"{listed} and {len(names) - most} more"


def _first_line(error: Exception) -> str:
    """The first line of what another library said, or the kind of error where it said nothing."""
    return next(iter(str(error).strip().splitlines()), type(error).__name__)
