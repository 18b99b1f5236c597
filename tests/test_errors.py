"""The error tree: one line each, and whole again on the other side of a process."""

import pickle

import pytest

from prost import errors


def every_error() -> list[type[errors.ProstError]]:
    found, waiting = [], [errors.ProstError]
    while waiting:
        kind = waiting.pop()
        found.append(kind)
        waiting.extend(kind.__subclasses__())
    return found


@pytest.mark.parametrize("kind", every_error())
def test_each_is_drawn_in_the_tree_and_says_what_it_is(kind: type[errors.ProstError]) -> None:
    assert errors.__doc__ is not None and kind.__name__ in errors.__doc__
    assert kind.__doc__


@pytest.mark.parametrize("kind", every_error())
def test_a_message_is_one_line_and_survives_pickling(kind: type[errors.ProstError]) -> None:
    error = kind("a\nb", "c", "d")
    assert "\n" not in str(error)
    again = pickle.loads(pickle.dumps(error))
    assert type(again) is kind and str(again) == str(error)


def test_wrong_use_and_failure_have_their_exit_codes() -> None:
    assert {kind.exit_code for kind in every_error()} == {1, 2}
    assert errors.MissingPath("x").exit_code == 2
    assert errors.LibraryDamaged("x").exit_code == 1
