"""ProST: find the right video, and the right moment in it, for a sentence.

>>> import prost
>>> model = prost.load("siglip2-b16")                   # doctest: +SKIP
>>> library = prost.Library("holiday.prost", model)     # doctest: +SKIP
>>> library.add("~/Videos")                             # doctest: +SKIP
>>> library.search("a dog catches a frisbee")[0].start  # doctest: +SKIP
3.5

`import prost` is quick: torch, Lance and FFmpeg are imported when a name that needs them is first used.
"""

from __future__ import annotations

import os
from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from prost import errors
    from prost.config import ModelConfig
    from prost.model.checkpoint import load
    from prost.model.locating import catalogue
    from prost.model.matching import Similarity, TextPrototypes, VideoPrototypes, match
    from prost.search.library import Library

__version__ = "0.1.0"

# OpenMP's threads wait busily for a short time only and then sleep, unless the user decides (decision 0035). OpenMP
# reads this when it is loaded, so it is set before torch is imported.
if not {"OMP_WAIT_POLICY", "GOMP_SPINCOUNT"} & os.environ.keys():
    os.environ["GOMP_SPINCOUNT"] = "10000"

__all__ = [
    "Library",
    "ModelConfig",
    "Similarity",
    "TextPrototypes",
    "VideoPrototypes",
    "__version__",
    "catalogue",
    "errors",
    "load",
    "match",
]

_HOMES = {
    "Library": "prost.search.library",
    "ModelConfig": "prost.config",
    "Similarity": "prost.model.matching",
    "TextPrototypes": "prost.model.matching",
    "VideoPrototypes": "prost.model.matching",
    "catalogue": "prost.model.locating",
    "load": "prost.model.checkpoint",
    "match": "prost.model.matching",
}


def __getattr__(name: str) -> Any:
    if name == "errors":
        return import_module("prost.errors")
    if name not in _HOMES:
        raise AttributeError(f"module 'prost' has no attribute {name!r}; it has {', '.join(__all__)}")
    value = getattr(import_module(_HOMES[name]), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted(__all__)
