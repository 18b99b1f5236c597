"""Models on disk: `load` opens every form of checkpoint, `save` writes ours.

Our form is a folder with `config.json` (such as a `ModelConfig`), `model.safetensors` and `tokenizer.json`.
"""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from importlib import util
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import save_file
from torch import Tensor
from torch.overrides import TorchFunctionMode

from prost.config import ModelConfig, RetrievalConfig, read_json
from prost.errors import (
    BadConfig,
    CheckpointError,
    MissingKeys,
    ShapeMismatch,
    StorageError,
    UnexpectedKeys,
    UsageError,
)
from prost.model import authors, released, rivals
from prost.model.catalogue import ENTRIES
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.dual_encoder import DualEncoder, DualEncoderConfig
from prost.model.encoding import choose_device
from prost.model.locating import is_name, locate
from prost.model.model_files import weight_files
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.saving import CONFIG, WEIGHTS, finish_save, replaced_together
from prost.model.tokenizer import CLIP_VOCABULARY, WordTokenizer, find_tokenizer
from prost.model.ts2net import TS2Net, TS2NetConfig
from prost.model.weights import read_weights

OPEN_CLIP_CONFIG = "open_clip_config.json"
# What `architecture` in a configuration stands for; a configuration without it is ProST's.
ARCHITECTURES: dict[
    str, tuple[type[RetrievalConfig], Callable[[Any, WordTokenizer | None], RetrievalModel[Any, Any]]]
] = {
    "prost": (ModelConfig, ProST),
    "clip4clip": (CLIP4ClipConfig, CLIP4Clip),
    "ts2net": (TS2NetConfig, TS2Net),
    "dual_encoder": (DualEncoderConfig, DualEncoder),
}

log = logging.getLogger("prost")

# Tensors that a message names.
NAMED = 6


def load(
    name_or_path: str | os.PathLike[str], device: str = "auto", download: bool = False, **overrides: Any
) -> RetrievalModel[Any, Any]:
    """Open a model, ready to encode: in eval mode and float32.

    Args:
        name_or_path: one of
            - a name of `prost.catalogue()`, such as `"toybox"`, which is bundled;
            - a folder that `save` wrote;
            - a file of the authors' code (`pytorch_model.bin`, `pytorch_model.bin.4`, `.pt`), or a folder with one;
            - a folder of `transformers` with a CLIP, SigLIP, SigLIP 2 of a fixed size, MetaCLIP 2 or Chinese-CLIP;
            - a folder of open_clip (models that are no plain CLIP need the extra `openclip`);
            - OpenAI's CLIP: a state dict, or the TorchScript archive that OpenAI publishes;
            - `owner/name` on the Hugging Face hub, if it was pulled or is in the hub's own cache.
        device: where the weights go: `auto` (the first CUDA GPU, otherwise the CPU), `cpu`, `cuda`, `cuda:N` or `mps`.
        download: fetch the model first if it is known by name and is not on this machine, as `prost models pull` does.
        overrides: fields of the model's configuration to change, such as those that cannot be read off the weights
            (`max_words=64`, `object_phrase_weight=1.0`, `token_shift_divisions=14`). With another
            `object_phrase_weight` a joint scorer is left out, since it reads the score.

    Returns:
        A `ProST`, `CLIP4Clip`, `TS2Net` or `DualEncoder`, as the checkpoint says.

    Raises:
        UsageError: an unknown or absent device.
        ModelNotHere: a model that is known by name and is not on this machine; `prost models pull` fetches it.
        DownloadFailed: `download` was asked for and failed.
        MissingPath: the path does not exist, and it is no name.
        CheckpointError: the weights do not make a model. Missing and unexpected keys and wrong shapes are named.
        BadConfig: an override that the model does not have, or a size out of range.
    """
    chosen = choose_device(device)  # before the weights are read: a wrong name is reported at once
    given = os.fspath(name_or_path)
    if download:
        from prost.model.fetching import pull_or_locate  # imports HTTP, which a search does without

        place = pull_or_locate(given)
    else:
        place = locate(given)
    name = given if is_name(given) else _name_of(place)
    folder = place if place.is_dir() else place.parent
    if place.is_dir():
        _finish_save(place)
    weights = _weights_of(place) if place.is_dir() else place
    read = _read_model(place, weights, name)
    values, state, tokenizer, origin = read.values, read.state, read.tokenizer, read.origin
    if given in ENTRIES and (weight := ENTRIES[given].object_phrase_weight) is not None:
        values = {**values, "object_phrase_weight": weight}
    kind = config_class(values, origin)
    others = {field for known, _ in ARCHITECTURES.values() for field in known.model_fields}
    if foreign := sorted(overrides.keys() & others - kind.model_fields.keys()):
        architecture = kind.model_fields["architecture"].default
        raise BadConfig(
            f"{foreign[0]} for {origin}",
            f"a field that the configuration of a {architecture} model has",
            f"leave {foreign[0]} out",
        )
    config = kind.parse({**values, **overrides}, origin)
    if "object_phrase_weight" in overrides:
        config, state = _without_foreign_scorer(config, kind.parse(values, origin), state)
    if tokenizer is not None and tokenizer.vocabulary > config.clip.vocabulary:
        raise CheckpointError(
            f"the vocabulary beside {weights} has {tokenizer.vocabulary} words, the weights {config.clip.vocabulary}",
            suggestion="take the tokenizer files that came with the weights",
        )
    # Without memory at first: the tensors that were read become the weights, so that there is one copy of them.
    with torch.device("meta"), _NoRandomWeights():
        model = build(config, tokenizer)
    _fill(model, state, weights)
    if read.dropped:
        names = ", ".join(read.dropped)
        log.info("%s: %d tensors dropped, which no forward pass reads: %s", weights, len(read.dropped), names)
    model = model.eval().to(chosen)
    beside = (".json", ".txt", ".gz", ".safetensors", ".bin")  # configuration, vocabulary, shards
    model.loaded_from([path for path in folder.iterdir() if path == weights or path.suffix in beside])
    return model


def config_class(values: Mapping[str, Any], origin: str) -> type[RetrievalConfig]:
    """Find the class of a configuration by its `architecture`; without that key it is ProST's.

    Args:
        values: keys and values of the configuration.
        origin: where they came from, for error messages.

    Raises:
        BadConfig: an unknown architecture.
    """
    architecture = values.get("architecture", "prost")
    if architecture not in ARCHITECTURES:
        raise BadConfig(f"{origin}: architecture {architecture!r}", ", ".join(ARCHITECTURES))
    return ARCHITECTURES[architecture][0]


def build(config: RetrievalConfig, tokenizer: WordTokenizer | None) -> RetrievalModel[Any, Any]:
    """Make a model with random weights."""
    model_class = next(model for known, model in ARCHITECTURES.values() if type(config) is known)
    return model_class(config, tokenizer)


def load_for_search(
    name_or_path: str | os.PathLike[str], device: str = "auto", **overrides: Any
) -> ProST | DualEncoder:
    """Open a model as `load` does, for callers that need prototypes to search, such as a library.

    Raises:
        UsageError: the model makes no prototypes, or what `load` raises.
    """
    model = load(name_or_path, device, **overrides)
    if not isinstance(model, ProST | DualEncoder):
        raise UsageError(
            f"{os.fspath(name_or_path)} is a {type(model).__name__}",
            "a ProST or a dual encoder: only they make prototypes to search",
        )
    return model


def load_prost(name_or_path: str | os.PathLike[str], device: str = "auto", **overrides: Any) -> ProST:
    """Open a model as `load` does, for callers that need ProST's own parts, such as a measurement of its evidence.

    Raises:
        UsageError: the model is not a ProST, or what `load` raises.
    """
    model = load(name_or_path, device, **overrides)
    if not isinstance(model, ProST):
        raise UsageError(
            f"{os.fspath(name_or_path)} is a {type(model).__name__}",
            "a ProST",
        )
    return model


def save(
    model: RetrievalModel[Any, Any],
    folder: str | os.PathLike[str],
    half: bool = False,
    beside: Mapping[str, str] | None = None,
) -> None:
    """Write a model as a folder that `load` opens.

    A save that is interrupted leaves the model that was there before, or the new one.

    Args:
        model: what to write.
        folder: made if absent; files of a model in it are replaced, others stay.
        half: store float16, which is half the size; `load` returns float32 again.
        beside: texts that belong to the model, by file name; they are replaced together with it.

    Raises:
        StorageError: no space, no permission.
    """
    folder = Path(folder)
    kept = {
        key: tensor.detach().cpu().to(torch.float16 if half and tensor.is_floating_point() else tensor.dtype)
        for key, tensor in model.state_dict().items()
    }
    try:
        with replaced_together(folder) as new:
            save_file({key: tensor.contiguous() for key, tensor in kept.items()}, new / WEIGHTS)
            (new / CONFIG).write_text(model.config.model_dump_json(indent=2) + "\n", encoding="utf-8")
            # safetensors lets only the owner read its files, whatever the umask says.
            (new / WEIGHTS).chmod(stat.S_IMODE((new / CONFIG).stat().st_mode))
            if model.tokenizer is not None:
                model.tokenizer.save(new)
            for name, text in (beside or {}).items():
                (new / name).write_text(text, encoding="utf-8")
    except (OSError, safetensors.SafetensorError) as error:
        raise StorageError(f"the model cannot be written to {folder} ({error})") from None


def _without_foreign_scorer(
    config: RetrievalConfig, own: RetrievalConfig, state: dict[str, Tensor]
) -> tuple[RetrievalConfig, dict[str, Tensor]]:
    """Leave out the joint scorer of a model whose score is weighed otherwise than it was trained with.

    Args:
        config: with another weight, perhaps.
        own: of the checkpoint.
        state: the weights.
    """
    if not isinstance(config, ModelConfig) or not isinstance(own, ModelConfig) or config.joint_scorer is None:
        return config, state
    if config.object_phrase_weight == own.object_phrase_weight:
        return config, state
    log.info(
        "the joint scorer of %s is left out: it reads a score with the weight %g",
        own.name,
        own.object_phrase_weight,
    )
    kept = {key: weight for key, weight in state.items() if not key.startswith("joint_scorer.")}
    return config.model_copy(update={"joint_scorer": None}), kept


@dataclass(kw_only=True)
class _ReadModel:
    """What a checkpoint of any form holds.

    Attributes:
        values: of the configuration.
        state: tensors by our names.
        tokenizer: None if the weights came without a vocabulary.
        origin: where the configuration comes from, for error messages.
        dropped: keys of tensors that no forward pass reads.
    """

    values: dict[str, Any]
    state: dict[str, Tensor]
    tokenizer: WordTokenizer | None
    origin: str
    dropped: list[str] = field(default_factory=list)


def _read_model(place: Path, weights: Path, name: str) -> _ReadModel:
    """Read a checkpoint, whatever form it has.

    Args:
        place: a folder or a file.
        weights: that file, or the weights in the folder.
        name: for models whose files state none.

    Raises:
        CheckpointError: a form that is not known, or weights that cannot be read.
        BadConfig: a configuration that cannot be opened.
    """
    folder = place if place.is_dir() else place.parent
    described = folder / CONFIG if place.is_dir() and (folder / CONFIG).is_file() else None
    stated = read_json(described) if described else {}
    state = read_weights(weights)
    tokenizer = find_tokenizer(folder)
    origin = str(described or weights)
    open_clip = _open_clip_config(place, weights, stated)
    dropped: list[str] = []
    if open_clip is not None:
        values, state, dropped = released.read_open_clip(open_clip, state, folder, tokenizer)
        tokenizer = tokenizer or _open_clips_vocabulary(values)
        origin = str(folder / OPEN_CLIP_CONFIG)
    elif "model_type" in stated:
        values = released.read_transformers(stated, state, folder, tokenizer)
        state, dropped = released.translate_transformers(state)
        if tokenizer is not None:
            tokenizer.normalise_as(values["family"])
    elif described and weights.name == WEIGHTS:
        return _ReadModel(values=stated, state=state, tokenizer=tokenizer, origin=origin)
    elif authors.is_authors(state):
        values = {**authors.read_configuration(state), **_modelscope(place)}
        state, dropped = authors.translate(state)
    elif rivals.recognise(state):
        values = rivals.read_configuration(state)
        state, dropped = rivals.translate(state)
    elif released.is_openai(state):
        values, state, dropped = released.read_openai(state)
    else:
        raise CheckpointError(
            f"{weights} holds no model ({_some(list(state))})",
            "a folder that prost or transformers wrote, a state dict of the authors' code, or OpenAI's CLIP",
        )
    values = {"name": name, **values}
    return _ReadModel(values=values, state=state, tokenizer=tokenizer, origin=origin, dropped=dropped)


def _finish_save(folder: Path) -> None:
    try:
        finish_save(folder)
    except OSError as error:
        raise StorageError(
            f"a save of the model in {folder} was interrupted, and cannot be completed ({error})",
            suggestion="open it once with permission to write there",
        ) from None


def _weights_of(folder: Path) -> Path:
    """Find the weights in a folder, or their index. Several epochs are an error, not a silent choice."""
    names = sorted(path.name for path in folder.iterdir())
    if published := weight_files(names):
        if published[0] == WEIGHTS and CONFIG not in names:
            raise CheckpointError(
                f"{folder} holds {WEIGHTS} without {CONFIG}",
                suggestion="copy config.json there, or save the model again",
            )
        return folder / next((name for name in published if name.endswith(".index.json")), published[0])
    found = [folder / name for name in names if re.fullmatch(r"pytorch_model\.bin\.\d+", name)]
    if len(found) == 1:
        return found[0]
    if found:
        raise CheckpointError(
            f"{folder} holds {len(found)} checkpoints", "one of them", f"give the file, such as {found[-1]}"
        )
    raise CheckpointError(
        f"{folder} holds no weights", "model.safetensors with config.json, or pytorch_model.bin"
    )


def _open_clip_config(place: Path, weights: Path, stated: Mapping[str, Any]) -> dict[str, Any] | None:
    """What a folder of open_clip says of its model; None for any other place, and where the weights are another's."""
    config = place / OPEN_CLIP_CONFIG
    if not config.is_file() or ("model_type" in stated and not weights.name.startswith("open_clip")):
        return None
    return read_json(config)


def _open_clips_vocabulary(values: Mapping[str, Any]) -> WordTokenizer | None:
    """CLIP's vocabulary from open_clip's own files, for folders that bring none, such as that of PE-Core."""
    package = util.find_spec("open_clip")
    if values["clip"]["vocabulary"] != CLIP_VOCABULARY or package is None or package.origin is None:
        return None
    return find_tokenizer(Path(package.origin).parent)


def _name_of(place: Path) -> str:
    return place.name if place.is_dir() else place.parent.name or place.name


def _modelscope(place: Path) -> dict[str, Any]:
    """Read the number of words from ModelScope's `configuration.json`; the shapes do not tell it."""
    beside = (place if place.is_dir() else place.parent) / "configuration.json"
    if not beside.is_file():
        return {}
    words = read_json(beside).get("paras", {}).get("max_words")
    return {"max_words": words} if isinstance(words, int) else {}


class _NoRandomWeights(TorchFunctionMode):
    """Context in which modules are made without initial weights.

    On the meta device torch draws random numbers by way of its compiler, whose import takes more than a second.
    """

    def __torch_function__(
        self,
        function: Any,
        types: Any,
        arguments: tuple[Any, ...] = (),
        options: dict[str, Any] | None = None,
    ) -> Any:
        options = options or {}
        initialises = getattr(function, "__module__", None) == torch.nn.init.__name__
        if initialises or function in (Tensor.normal_, Tensor.uniform_):
            return arguments[0] if arguments else options["tensor"]
        return function(*arguments, **options)


def _fill(model: torch.nn.Module, state: dict[str, Tensor], origin: Path) -> None:
    """Make tensors the weights of a model that has none yet.

    Args:
        model: on the meta device.
        state: float32 tensors become the weights without a copy.
        origin: where they came from, for error messages.

    Raises:
        MissingKeys, UnexpectedKeys, ShapeMismatch: by name, what does not fit.
    """
    places = model.state_dict()
    if missing := sorted(places.keys() - state.keys()):
        raise MissingKeys(
            f"{origin} lacks {_some(missing)}", "every tensor of the model", "copy or export it again"
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
    for key in list(state):
        state[key] = state[key].float()  # one by one, so that each half-precision tensor is freed at once
    model.load_state_dict(state, assign=True)


def _some(names: list[str]) -> str:
    """List the first few names in one line, and count the others."""
    listed = ", ".join(names[:NAMED])
    return listed if len(names) <= NAMED else f"{listed} and {len(names) - NAMED} more"
