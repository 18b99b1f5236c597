"""Tensors by name from files of every form: safetensors, whole or in shards, pickles, and TorchScript archives.

Code in a file is never run: pickles are read by torch with `weights_only`, TorchScript archives by a reader of our own
that knows tensors and the attributes that hold them.
"""

from __future__ import annotations

import errno
import pickle
import re
import struct
import zipfile
from collections import OrderedDict
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import safetensors
import torch
from safetensors.torch import load_file
from torch import Tensor

from prost.config import read_json
from prost.errors import CheckpointError, StorageError
from prost.printable import first_line

# What the readers of torch, zipfile and safetensors raise for a file that is cut or overwritten.
DAMAGE = (
    RuntimeError,
    EOFError,
    ValueError,
    KeyError,
    IndexError,
    struct.error,
    zipfile.BadZipFile,
    safetensors.SafetensorError,
)


def read_weights(path: Path) -> dict[str, Tensor]:
    """Read tensors by name.

    Args:
        path: a file of tensors, or the index (`.index.json`) of several.

    Raises:
        CheckpointError: a file that is damaged, would run code, holds something else, or lacks a shard or a tensor.
        StorageError: a file that cannot be read.
    """
    if path.name.endswith(".index.json"):
        return _read_shards(path)
    if path.suffix == ".safetensors":
        with _reading(path):
            return load_file(path)
    with _reading(path):
        is_torchscript = _is_torchscript(path)
    if is_torchscript:
        with _reading(path):
            return dict(_tensors_of(_TorchScriptReader(path).read()))
    state = read_saved(path)
    if isinstance(state, Mapping) and isinstance(state.get("state_dict"), Mapping):  # as a training saves it
        state = state["state_dict"]
    if not isinstance(state, Mapping) or not all(isinstance(tensor, Tensor) for tensor in state.values()):
        raise CheckpointError(f"{path} holds a {type(state).__name__}, not a state dict", "tensors by name")
    return dict(state)


def read_saved(path: Path) -> Any:
    """What `torch.save` wrote: tensors on the CPU and plain values, and no code.

    Raises:
        CheckpointError: a file that is damaged, or would run code.
        StorageError: a file that cannot be read, or does not fit into memory.
    """
    with _reading(path):
        return torch.load(path, map_location="cpu", weights_only=True)


@contextmanager
def _reading(path: Path) -> Iterator[None]:
    """Context around the readers of torch, zipfile and safetensors, whose errors become ours."""
    try:
        yield
    except pickle.UnpicklingError:
        raise CheckpointError(
            f"{path} is not a plain state dict (it is damaged, or it would run code on loading)",
            "tensors by name, as torch.save(model.state_dict(), path) writes",
        ) from None
    except OSError as error:
        # torch seeks to a negative position when the directory at the end of a file is missing.
        if error.errno == errno.EINVAL:
            raise CheckpointError(
                f"{path} is damaged (its end is missing)", suggestion="copy it again"
            ) from None
        raise StorageError(f"{path} cannot be read ({error})") from None
    except MemoryError:
        raise _no_memory(path) from None
    except DAMAGE as error:
        # torch has no class for it. A damaged file can ask for more bytes than it holds.
        asked = re.search(r"allocate (\d+) bytes", str(error))
        if asked and int(asked.group(1)) <= path.stat().st_size:
            raise _no_memory(path) from None
        raise CheckpointError(
            f"{path} is damaged ({first_line(error)})", suggestion="copy it again"
        ) from None


def _no_memory(path: Path) -> StorageError:
    return StorageError(
        f"{path} does not fit into memory", suggestion="close other programs, or a smaller model"
    )


def _read_shards(index: Path) -> dict[str, Tensor]:
    places = read_json(index).get("weight_map")
    if not isinstance(places, dict) or not places:
        raise CheckpointError(f"{index} has no weight_map", "the index of sharded weights")
    state: dict[str, Tensor] = {}
    for name in sorted(set(places.values())):
        shard = index.parent / Path(name).name
        if not shard.is_file():
            raise CheckpointError(f"{index} names {name}, which is not there", suggestion="copy it, too")
        state |= read_weights(shard)
    if missing := sorted(places.keys() - state.keys()):
        raise CheckpointError(
            f"{index} promises {missing[0]}, which no shard holds", suggestion="copy them again"
        )
    return state


def _is_torchscript(path: Path) -> bool:
    if not zipfile.is_zipfile(path):
        return False
    with zipfile.ZipFile(path) as archive:
        files = {name.rpartition("/")[2] for name in archive.namelist()}
    return {"constants.pkl", "data.pkl"} <= files


class _Attributes:
    """Stands for a module or any other object of an archive, whose class is code of the archive."""

    def __setstate__(self, values: Any) -> None:
        self.values = values


def _rebuild(storage: Tensor, offset: int, size: tuple[int, ...], stride: tuple[int, ...], *_: Any) -> Tensor:
    """A tensor in a flat storage."""
    return storage.as_strided(size, stride, offset)


def _same(value: Any, *_: Any) -> Any:
    """What torch writes as a call that marks a parameter, or the type of a list."""
    return value


class _TorchScriptReader(pickle.Unpickler):
    """Reads the attributes of a TorchScript archive. No class or function of the archive is ever looked up."""

    def __init__(self, path: Path) -> None:
        self._archive = zipfile.ZipFile(path)
        name = next(name for name in self._archive.namelist() if name.endswith("/data.pkl"))
        self._folder = name.removesuffix("data.pkl")
        self._storages: dict[str, Tensor] = {}
        super().__init__(self._archive.open(name))

    def read(self) -> Any:
        """The outermost object.

        Raises:
            UnpicklingError: the pickle calls something else than what makes tensors and attributes.
        """
        with self._archive:
            try:
                return self.load()
            except (TypeError, AttributeError) as error:
                raise pickle.UnpicklingError(str(error)) from None

    def find_class(self, module: str, name: str) -> Any:
        """What a name in the pickle stands for.

        Raises:
            UnpicklingError: a name that is not needed for tensors and attributes.
        """
        if module == "__torch__" or module.startswith("__torch__."):
            return _Attributes
        if module == "torch._utils" and name in ("_rebuild_tensor_v2", "_rebuild_tensor"):
            return _rebuild
        if (module == "torch._utils" and name == "_rebuild_parameter") or module == "torch.jit._pickle":
            return _same
        if module == "torch" and name.endswith("Storage"):
            return name
        if (module, name) == ("collections", "OrderedDict"):
            return OrderedDict
        raise pickle.UnpicklingError(f"{module}.{name}")

    def persistent_load(self, pid: Any) -> Tensor:
        """A storage, as a flat tensor."""
        _, kind, key, _, count = pid
        if key not in self._storages:
            dtype = getattr(torch, kind.removesuffix("Storage").lower(), None)
            if not isinstance(dtype, torch.dtype):
                raise pickle.UnpicklingError(f"a storage of kind {kind}")
            content = bytearray(self._archive.read(f"{self._folder}data/{key}"))
            self._storages[key] = torch.frombuffer(content, dtype=dtype, count=count)
        return self._storages[key]


def _tensors_of(value: Any, name: str = "") -> Iterator[tuple[str, Tensor]]:
    """All tensors inside an object, with their dotted names."""
    if isinstance(value, Tensor):
        yield name, value
    elif isinstance(value, _Attributes):
        yield from _tensors_of(value.values, name)
    elif isinstance(value, Mapping):
        for key, inner in value.items():
            yield from _tensors_of(inner, f"{name}.{key}" if name else str(key))
