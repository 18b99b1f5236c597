"""Several threads may search at once, whatever numba's threading layer is."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from prost.search.library import Library

SCRIPT = """
import sys, threading
sys.path.insert(0, sys.argv[2])
from concurrent.futures import ThreadPoolExecutor
import numba
from conftest import ColourModel
from prost.search.library import Library

queries = ("red", "green blue", "yellow white cyan", "black") * 20
with Library(sys.argv[1], ColourModel()) as library:
    def search(query):
        return [(hit.path, hit.score) for hit in library.search(query, coarse="scan")]
    expected = [search(query) for query in queries[:4]] * 20
    with ThreadPoolExecutor(4) as threads:
        assert list(threads.map(search, queries)) == expected
assert numba.threading_layer() == sys.argv[3]
"""


@pytest.mark.slow
@pytest.mark.parametrize("layer", ["workqueue", "omp"])
def test_threads_search_at_once(filled: Library, layer: str) -> None:
    filled.optimize()
    here = str(Path(__file__).parent)
    subprocess.run(
        [sys.executable, "-c", SCRIPT, filled.path, here, layer],
        check=True,
        timeout=300,
        env={**os.environ, "NUMBA_THREADING_LAYER": layer, "NUMBA_NUM_THREADS": "2"},
    )
