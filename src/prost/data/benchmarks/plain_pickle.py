"""Pickles of plain data, read without running anything that they ask for.

Some benchmarks came as pickles, and a pickle is a program. Only numbers, texts, the containers of Python and NumPy's
arrays can be built here; whatever else a file names is refused before it is called.
"""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np

from prost.errors import BadAnnotations

ALLOWED = frozenset(
    {
        ("builtins", "list"),
        ("builtins", "set"),
        ("builtins", "bytes"),
        ("collections", "OrderedDict"),
        ("collections", "defaultdict"),
        ("numpy", "dtype"),
        ("numpy", "ndarray"),
    }
)
# What NumPy's own pickles call to build an array and a number. They moved in its second version, and files name either
# place; here they are asked of the NumPy that is installed.
NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMPY_BUILDERS = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}


def read_plain_pickle(path: Path) -> Any:
    """The plain data in a pickle.

    Texts of Python 2 are taken as Latin-1, which is also how its arrays have to be read.

    Raises:
        BadAnnotations: the file is no pickle, or names something that is no plain data.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except BadAnnotations as refusal:
        raise BadAnnotations(f"{path}: {refusal.arrived}", refusal.expected, refusal.suggestion) from None
    except OSError as error:
        raise BadAnnotations(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:
        # A pickle that is cut or made up can raise anything at all.
        raise BadAnnotations(f"{path} is no pickle of plain data ({type(error).__name__}: {error})") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of
        if module in NUMPY_MODULES and name in NUMPY_BUILDERS:
            return NUMPY_BUILDERS[name]
        if (module.replace("__builtin__", "builtins"), name) in ALLOWED:  # the first is Python 2's
            return super().find_class(module, name)
        raise BadAnnotations(
            f"the pickle asks for {module}.{name}",
            "numbers, texts, lists, dicts and arrays",
            "fetch the file anew from where the benchmark is published; it may have been tampered with",
        )


def _bytes_of(text: str, encoding: str) -> bytes:
    """How early protocols write bytes: as a text, to be encoded in Latin-1."""
    if encoding != "latin1":
        raise BadAnnotations(f"the pickle asks for the encoding {encoding!r}", "latin1")
    return text.encode("latin1")
