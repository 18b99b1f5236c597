"""Measured forms of models, remembered on this machine.

A measurement counts for one vision tower on one processor with the same versions of the libraries that compute.
"""

from __future__ import annotations

import json
import logging
from dataclasses import asdict
from hashlib import blake2b
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from prost.data.writing import written_whole
from prost.errors import StorageError
from prost.evaluation.form_gate import FormReport
from prost.evaluation.machine import processor_name
from prost.model.retrieval_model import RetrievalModel
from prost.places import data_folder

# Part of every key. Raise it when the forms or the gate change.
RULE = 2
LIBRARIES = ("torch", "onnx", "onnxruntime", "openvino")

log = logging.getLogger("prost")


def recall_forms(model: RetrievalModel[Any, Any]) -> list[FormReport] | None:
    """What was measured for the vision tower of a model on this machine; None if nothing was.

    A file that cannot be read is removed with a warning, so that the forms are measured again.
    """
    if not _folder().is_dir():  # the weights need not be hashed
        return None
    facts = _facts(model)
    path = _file(facts)
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if stored["facts"] != facts:
            raise ValueError("it is of another model or machine")
        return [FormReport(**form) for form in stored["forms"]]
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log.warning("%s cannot be read (%s); the forms are measured again", path, error)
        path.unlink(missing_ok=True)
        return None


def remember_forms(model: RetrievalModel[Any, Any], reports: list[FormReport]) -> None:
    """Keep a measurement. A folder that cannot be written is no error: the forms are measured again then."""
    facts = _facts(model)
    path = _file(facts)
    content = json.dumps({"facts": facts, "forms": [asdict(report) for report in reports]}, indent=2)
    try:
        with written_whole(path) as partial:
            partial.write_text(content, encoding="utf-8")
    except StorageError as error:
        log.warning("%s", error.arrived)


def _facts(model: RetrievalModel[Any, Any]) -> dict[str, Any]:
    """What a measurement depends on."""
    return {
        "rule": RULE,
        "vision": model.vision_fingerprint,
        "processor": processor_name(),
        **{library: _version(library) for library in LIBRARIES},
    }


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None


def _file(facts: dict[str, Any]) -> Path:
    key = blake2b(json.dumps(facts, sort_keys=True).encode(), digest_size=12).hexdigest()
    return _folder() / f"{key}.json"


def _folder() -> Path:
    return data_folder() / "forms"
