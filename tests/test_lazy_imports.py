"""`import prost` and `prost --help` load nothing heavy; the public names come when they are used."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import prost

HEAVY = {"torch", "transformers", "lance", "pyarrow", "av", "scipy", "numpy", "PIL", "tokenizers"}


def modules_after(code: str) -> set[str]:
    """Top-level modules that a new interpreter holds after some code."""
    report = "import json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    finished = subprocess.run(
        [sys.executable, "-c", f"{code}\n{report}"], capture_output=True, text=True, check=True
    )
    return set(json.loads(finished.stdout.splitlines()[-1]))


@pytest.mark.parametrize(
    "code",
    [
        "import prost",
        "import prost; prost.errors.ProstError; prost.__version__; dir(prost)",
        "from prost.apps.cli import main; main(['--help'])",
        "from prost.apps.cli import main; main(['search', '--help'])",
        "from prost.apps.cli import main; main(['--version'])",
    ],
)
def test_nothing_heavy_is_loaded(code: str) -> None:
    loaded = modules_after(code)
    assert "prost" in loaded
    assert not HEAVY & loaded


def test_a_public_name_loads_what_it_needs() -> None:
    assert "pydantic" in modules_after("import prost; prost.ModelConfig")


def test_a_search_in_a_small_library_loads_no_compiler(toybox_folder: Path, tmp_path: Path) -> None:
    """numba and its compiled scan take about a second to load; a small library is scored without them."""
    video = sorted(toybox_folder.glob("*.mp4"))[0]
    library = tmp_path / "a.prost"
    with prost.Library(library, model=prost.load("toybox")) as made:
        made.add(video)
    search = f"from prost.apps.cli import main; main(['search', 'a ball', '--library', {str(library)!r}])"
    loaded = modules_after(search)
    assert (
        "torch" in loaded and "numba" not in loaded and "scipy" not in loaded and "transformers" not in loaded
    )


@pytest.mark.parametrize("name", prost.__all__)
def test_every_public_name_is_there(name: str) -> None:
    assert getattr(prost, name) is not None
    assert name in dir(prost)


def test_an_unknown_name_is_an_attribute_error_that_lists_the_known_ones() -> None:
    with pytest.raises(AttributeError, match=r"no attribute 'lode'.*load"):
        prost.lode  # noqa: B018  # the access is what is tested


def test_version_is_that_of_the_installed_package() -> None:
    from importlib.metadata import version

    assert prost.__version__ == version("prost-video")


def test_encoding_and_searching_do_without_transformers_and_compilers(
    toybox_folder: Path, tmp_path: Path
) -> None:
    library, video = str(tmp_path / "own.prost"), str(sorted(toybox_folder.glob("*.mp4"))[0])
    code = f"""
import prost
library = prost.Library({library!r}, prost.load("toybox"))
library.add({video!r})
assert library.search("a red ball falls")[0].path == {video!r}
"""
    assert not {"transformers", "sympy"} & modules_after(code)


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({}, "None 10000"),
        ({"OMP_WAIT_POLICY": "ACTIVE"}, "ACTIVE None"),
        ({"GOMP_SPINCOUNT": "100"}, "None 100"),
    ],
)
def test_waiting_threads_sleep_unless_the_user_decides(given: dict[str, str], expected: str) -> None:
    kept = {
        name: value for name, value in os.environ.items() if name not in ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")
    }
    code = (
        "import os, prost; print(*(os.environ.get(name) for name in ('OMP_WAIT_POLICY', 'GOMP_SPINCOUNT')))"
    )
    finished = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        check=True,
        env={**kept, **given},
    )
    assert finished.stdout.strip() == expected
