"""Compiled functions work in an installation that cannot be written."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

MODULE = """
from prost.search.compiling import compiled

@compiled(nogil=True)
def double(number):
    return 2 * number

print(double(21), double.stats.cache_path)
"""


@pytest.mark.slow
@pytest.mark.parametrize("writable", [True, False])
def test_a_function_is_cached_where_that_is_possible(tmp_path: Path, writable: bool) -> None:
    (tmp_path / "doubling.py").write_text(MODULE)
    if not writable:
        (tmp_path / "__pycache__").touch()  # a file where the folder of the cache would be made
    code = [sys.executable, "-c", "import doubling"]
    path = os.pathsep.join([str(tmp_path), *(entry for entry in sys.path if entry)])
    environment = {**os.environ, "PYTHONPATH": path, "HOME": "/dev/null", "PYTHONDONTWRITEBYTECODE": "1"}
    for name in ("XDG_CACHE_HOME", "NUMBA_CACHE_DIR"):
        environment.pop(name, None)
    finished = subprocess.run(code, env=environment, capture_output=True, text=True, check=False)
    assert finished.returncode == 0, finished.stderr
    number, place = finished.stdout.split()
    assert number == "42"
    assert place == (str(tmp_path / "__pycache__") if writable else "None")
