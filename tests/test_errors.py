"""The error tree: drawn as it is, one line each, unchanged by a trip to another process."""

import ast
import pickle
import re
import signal
from pathlib import Path

import pytest

from prost import errors

SOURCE = Path(errors.__file__).parent


def every_error() -> list[type[errors.ProstError]]:
    found, waiting = [], [errors.ProstError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


def drawn_parents() -> dict[str, str | None]:
    """Each name in the drawing, and the name that it hangs on."""
    assert errors.__doc__ is not None
    parents: dict[str, str | None] = {}
    path: list[str] = []
    for line in errors.__doc__.splitlines():
        drawn = re.fullmatch(r"    ((?:[│ ]   )*)([├└]── )?([A-Z]\w+)  +\S.*", line)
        if drawn is None:
            continue
        depth = len(drawn[1]) // 4 + (drawn[2] is not None)
        parents[drawn[3]] = path[depth - 1] if depth else None
        path[depth:] = [drawn[3]]
    return parents


def test_every_class_hangs_where_it_is_drawn() -> None:
    bases = {kind.__name__: [base.__name__ for base in kind.__bases__] for kind in every_error()}
    drawn = {name: [parent or "Exception"] for name, parent in drawn_parents().items()}
    assert drawn == bases


def test_no_other_file_makes_errors_of_its_own() -> None:
    known = {kind.__name__ for kind in every_error()}
    others = [
        f"{path.relative_to(SOURCE)}: {node.name}"
        for path in SOURCE.rglob("*.py")
        if path.name != "errors.py"
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.ClassDef)
        and any(ast.unparse(base).rpartition(".")[2] in known for base in node.bases)
    ]
    assert others == []


@pytest.mark.parametrize("kind", every_error())
def test_each_says_what_it_is(kind: type[errors.ProstError]) -> None:
    assert kind.__doc__


@pytest.mark.parametrize("kind", every_error())
def test_a_message_is_one_line_and_survives_pickling(kind: type[errors.ProstError]) -> None:
    error = kind("a\nerror: b\x1b[2J", "c  d", "e")
    assert "\n" not in str(error) and "\x1b" not in str(error)
    assert r"a\nerror: b\x1b[2J" in str(error) and "c  d" in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)


def test_wrong_use_failure_and_interruption_have_their_exit_codes() -> None:
    assert {kind.exit_code for kind in every_error()} == {1, 2, 130}
    assert errors.MissingPath("x").exit_code == 2
    assert errors.LibraryDamaged("x").exit_code == 1
    assert errors.TrainingInterrupted("x").exit_code == 130
    stopped = errors.TrainingInterrupted("x", number=signal.SIGTERM)
    assert stopped.exit_code == 143 == pickle.loads(pickle.dumps(stopped)).exit_code
