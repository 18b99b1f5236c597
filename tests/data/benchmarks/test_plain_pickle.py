"""Pickles of plain data are read; pickles that want to run something are refused before it runs."""

import codecs
import collections
import functools
import operator
import os
import pickle
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prost.data.benchmarks.plain_pickle import read_plain_pickle
from prost.errors import BadAnnotations

plain = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner) | st.tuples(inner, inner),
    max_leaves=8,
)


def written(folder: Path, content: bytes) -> Path:
    path = folder / "captions.pkl"
    path.write_bytes(content)
    return path


@given(value=plain, protocol=st.integers(0, pickle.HIGHEST_PROTOCOL))
def test_plain_data_comes_back_as_it_was(
    tmp_path_factory: pytest.TempPathFactory, value: object, protocol: int
) -> None:
    path = written(tmp_path_factory.getbasetemp(), pickle.dumps(value, protocol))
    assert read_plain_pickle(path) == value


def test_containers_and_arrays(tmp_path: Path) -> None:
    ordered = collections.OrderedDict(a=[1], b=[2])
    grouped = collections.defaultdict(list, c=[3])
    assert read_plain_pickle(written(tmp_path, pickle.dumps([ordered, grouped]))) == [ordered, grouped]
    arrays = {"start": np.arange(3.0), "text": np.array(["a", "b"], object), "one": np.int64(7)}
    back = read_plain_pickle(written(tmp_path, pickle.dumps(arrays, 4)))
    np.testing.assert_array_equal(back["start"], [0, 1, 2])
    assert back["text"].tolist() == ["a", "b"] and back["one"] == 7


@pytest.mark.parametrize("module", ["numpy.core.multiarray", "numpy._core.multiarray"])
def test_arrays_of_either_numpy(tmp_path: Path, module: str) -> None:
    content = pickle.dumps(np.array([4, 5]), 2)
    for name in ("numpy.core.multiarray", "numpy._core.multiarray"):
        content = content.replace(name.encode(), module.encode())
    assert read_plain_pickle(written(tmp_path, content)).tolist() == [4, 5]


def test_texts_and_lists_of_python_2(tmp_path: Path) -> None:
    # {'a': ['caf\xe9'], 'b': set(['x'])} as Python 2 writes it.
    content = b"(dp0\nS'a'\np1\n(lp2\nS'caf\\xe9'\np3\nasS'b'\np4\n"
    content += b"c__builtin__\nset\np5\n((lp6\nS'x'\np7\natp8\nRp9\ns."
    assert read_plain_pickle(written(tmp_path, content)) == {"a": ["café"], "b": {"x"}}


class Runs:
    """Asks, when it is read, for a call."""

    def __init__(self, function: Callable[..., object], *arguments: object) -> None:
        self.call = (function, arguments)

    def __reduce__(self) -> tuple[Callable[..., object], tuple[object, ...]]:
        return self.call


@pytest.mark.parametrize(
    "function",
    [os.system, eval, exec, getattr, print, np.load, pickle.loads, functools.partial, operator.attrgetter],
)
def test_a_pickle_that_would_run_something_is_refused(
    tmp_path: Path, function: Callable[..., object]
) -> None:
    path = written(tmp_path, pickle.dumps({"video": [Runs(function, "anything")]}))
    with pytest.raises(BadAnnotations, match=r"the pickle asks for .*tampered"):
        read_plain_pickle(path)


def test_bytes_of_early_protocols_are_latin_1_only(tmp_path: Path) -> None:
    path = written(tmp_path, pickle.dumps(Runs(codecs.encode, "text", "rot13")))
    with pytest.raises(BadAnnotations, match="asks for the encoding 'rot13'"):
        read_plain_pickle(path)


def test_nothing_runs(tmp_path: Path) -> None:
    trace = tmp_path / "trace"
    path = written(tmp_path, pickle.dumps(Runs(os.mkdir, str(trace))))
    with pytest.raises(BadAnnotations):
        read_plain_pickle(path)
    assert not trace.exists()
    pickle.loads(path.read_bytes())
    assert trace.is_dir(), "the pickle would have done it"


@pytest.mark.parametrize("content", [b"", b"no pickle", pickle.dumps(["a"] * 50)[:-9], b"\x80\x04."])
def test_what_is_no_pickle(tmp_path: Path, content: bytes) -> None:
    with pytest.raises(BadAnnotations, match="is no pickle of plain data"):
        read_plain_pickle(written(tmp_path, content))


def test_a_pickle_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BadAnnotations, match="cannot be read"):
        read_plain_pickle(tmp_path / "none.pkl")
