"""Errors as somebody reads them who typed a command: no argument of Python is left in them."""

from __future__ import annotations

import ast
import re
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest

import prost.errors
from prost.apps.cli.main import app
from prost.apps.cli.spelling import as_typed, options_of
from prost.errors import ProstError
from prost.search.store import Store

SOURCE = Path(prost.errors.__file__).parent
ERRORS = {
    name
    for name, value in vars(prost.errors).items()
    if isinstance(value, type) and issubclass(value, ProstError)
}
PYTHON = re.compile(r"\b[a-z]\w*=(?:True|False|None|['\"\[{])|\w+\(.*\)|\b[a-z]+(?:_\w+)+")
# What no command can lead to: functions that are called from Python alone, or what a command always gives.
PYTHON_ALONE = {
    "apps/server/settings.py": {
        "print(secrets.token_urlsafe(32))"
    },  # a command of the shell that runs Python
    "evaluation/metrics.py": {"kind={}", "ties={}"},
    "evaluation/post_processing.py": {"alpha={}", "captions_per_video", "iterations={}"},
    "evaluation/report.py": {"evaluate_set"},
    "model/hub.py": {"cache_dir", "from_pretrained"},
    "model/object_phrase.py": {"torch.no_grad()"},
    "model/retrieval_model.py": {"attention_mask", "input_ids"},
    "model/weights.py": {"torch.save(model.state_dict(), path)"},  # how a file must have been made
    "object_store.py": {"storage_options"},
    "search/forks.py": {"get_context('spawn')"},
    "search/hits.py": {"to_table()"},
    "search/library.py": {"Library(path, model=prost.load(...))", "prost.load({})"},
}
# Names of files, of keys in them and in recipes, and of packages: these are the same for everybody.
NAMES = {
    "batch_size",
    "bpe_simple_vocab_16e6",
    "cache_frame_tokens",
    "feature_file",
    "hidden_act",
    "image_id",
    "model_cfg",
    "model_type",
    "open_clip",
    "pytorch_model",
    "video_id",
    "weight_map",
}


def test_arguments_of_a_command_are_spelled_as_its_options() -> None:
    error = ProstError(
        "a/coarse='scan'", "coarse='scan' or coarse=\"exact\"", "limit=3, tag='a b', or wait (wait=True)"
    )
    options = options_of(app, ["search", "wait", "--library", "index"])
    told = "a/coarse='scan'; expected: --coarse scan or --coarse exact; try: --limit 3, --tag 'a b', or wait"
    assert as_typed(error, {**options, "tag": "--tag"}) == f"{told} (wait=True)"
    code = "Library(path, model=prost.load(...))"
    assert str(ProstError("", code)) == as_typed(ProstError("", code), {"model": "--model"})
    assert as_typed(ProstError("ties='x'", "y"), {"ties": "--ties"}) == "--ties x; expected: y"
    assert options_of(app, ["index"])["wait"] == "--wait" and "wait" not in options
    assert options_of(app, ["models", "pull"]) and options_of(app, [])["version"] == "--version"


def test_of_the_library(prost: Callable[..., Any], indexed: Path, videos: Path) -> None:
    said = prost("search", "red", "--library", indexed, "--coarse", "scan")
    assert said.code == 1 and "expected: --coarse exact" in said.err, said.err
    said = prost("tag", videos / "red.mp4", "--tag", " ", "--library", indexed)
    assert said.code == 2 and "such as holiday" in said.err, said.err
    with Store.open(str(indexed)).writing():
        said = prost("tag", videos / "red.mp4", "--tag", "sea", "--library", indexed)
    assert said.code == 1 and "or wait for it (--wait)" in said.err, said.err
    said = prost("search", "red", "--library", indexed.parent / "none.prost")
    assert said.code == 2 and "Library(" not in said.err, said.err


@cache
def told() -> list[tuple[str, str]]:
    """Every text in an error that prost raises on purpose, with its file."""
    found = []
    for path in sorted(SOURCE.rglob("*.py")):
        for call in ast.walk(ast.parse(path.read_text())):
            if isinstance(call, ast.Call) and isinstance(call.func, ast.Name) and call.func.id in ERRORS:
                for part in [*call.args, *(each.value for each in call.keywords)]:
                    found += [(str(path.relative_to(SOURCE)), text) for text in texts_of(part)]
    return found


def texts_of(part: ast.expr) -> Iterator[str]:
    """The texts in an expression, with braces in the place of values."""
    if isinstance(part, ast.JoinedStr):
        yield "".join(each.value if isinstance(each, ast.Constant) else "{}" for each in part.values)
        return
    if isinstance(part, ast.Constant) and isinstance(part.value, str):
        yield part.value
    for each in ast.iter_child_nodes(part):
        if isinstance(each, ast.expr):
            yield from texts_of(each)


def test_all_errors_are_spelled_for_the_command_line() -> None:
    commands = [each.name or each.callback.__name__ for each in app.registered_commands if each.callback]
    options = {name: option for word in commands for name, option in options_of(app, [word]).items()}
    texts, left = told(), []
    for file, text in texts:
        spelled = as_typed(ProstError("", text), options)
        for words in PYTHON_ALONE.get(file, ()):
            spelled = spelled.replace(words, "")
        left += [(file, text, words) for words in PYTHON.findall(spelled) if words not in NAMES]
    assert not left
    assert len(texts) > 500


@pytest.mark.parametrize(
    ("file", "words"), [(file, each) for file, all in PYTHON_ALONE.items() for each in sorted(all)]
)
def test_no_exception_is_out_of_date(file: str, words: str) -> None:
    assert any(file == other and words in text for other, text in told())
