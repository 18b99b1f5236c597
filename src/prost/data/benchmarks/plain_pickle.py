"""Read pickles of plain data without running code from the file.

Some benchmarks were published as pickles, and a pickle is a program. Only numbers, texts, Python's containers and
NumPy's arrays can be built here; everything else that a file names is refused before it is called.
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
# The functions with which NumPy's pickles build arrays and numbers. They moved in NumPy 2, so that files name either
# module; the functions themselves are taken from the installed NumPy.
NUMPY_MODULES = ("numpy.core.multiarray", "numpy._core.multiarray")
NUMPY_BUILDERS = {"_reconstruct": np.empty(0).__reduce__()[0], "scalar": np.float64(0).__reduce__()[0]}


def read_plain_pickle(path: Path) -> Any:
    """Read the plain data in a pickle.

    Texts of Python 2 are decoded as Latin-1, which its arrays need, too.

    Raises:
        BadAnnotations: the file is no pickle, or names something other than plain data.
    """
    try:
        with path.open("rb") as file:
            return _PlainUnpickler(file, encoding="latin1").load()
    except BadAnnotations as refusal:
        raise BadAnnotations(f"{path}: {refusal.arrived}", refusal.expected, refusal.suggestion) from None
    except OSError as error:
        raise BadAnnotations(f"{path} cannot be read ({error.strerror})") from None
    except Exception as error:
        # A truncated or malicious pickle can raise any exception.
        raise BadAnnotations(f"{path} is no pickle of plain data ({type(error).__name__}: {error})") from None


class _PlainUnpickler(pickle.Unpickler):
    def find_class(self, module: str, name: str) -> Any:
        if (module, name) == ("_codecs", "encode"):
            return _bytes_of
        if module in NUMPY_MODULES and name in NUMPY_BUILDERS:
            return NUMPY_BUILDERS[name]
        if (module.replace("__builtin__", "builtins"), name) in ALLOWED:  # Python 2 has __builtin__
            return super().find_class(module, name)
        raise BadAnnotations(
            f"the pickle asks for {module}.{name}",
            "numbers, texts, lists, dicts and arrays",
            "download the file again from the benchmark's publisher; it may have been tampered with",
        )


def _bytes_of(text: str, encoding: str) -> bytes:
    """Early protocols store bytes as a text that is to be encoded in Latin-1."""
    if encoding != "latin1":
        raise BadAnnotations(f"the pickle asks for the encoding {encoding!r}", "latin1")
    return text.encode("latin1")
