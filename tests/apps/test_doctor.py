"""`prost doctor`: what is there, and what is wrong."""

import shutil
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from prost.apps.cli import doctor
from prost.apps.cli.options import default_library

Prost = Callable[..., Any]


@pytest.fixture
def small_model(monkeypatch: pytest.MonkeyPatch, untrained_folder: Path) -> None:
    """The untrained model in the place of the bundled one: only that it can be opened matters here."""
    monkeypatch.setattr("prost.apps.cli.doctor.BUNDLED", str(untrained_folder))


def checks(said: Any) -> dict[str, dict[str, object]]:
    return {check["name"]: check for check in said.json}


@pytest.mark.usefixtures("small_model")
def test_a_healthy_installation(prost: Prost) -> None:
    said = prost("doctor", "--json")
    found = checks(said)
    assert said.code == 0
    assert not [name for name, check in found.items() if check["ok"] is False]
    assert found["H.264"]["ok"] is True
    assert "million weights" in str(found["bundled model"]["detail"])
    assert found["library"]["detail"] == f"none at {default_library()} yet"
    for part in (
        "prost",
        "python",
        "torch",
        "av",
        "pylance",
        "FFmpeg",
        "disk",
        "processor",
        "GPU",
    ):
        assert found[part]["detail"]


@pytest.mark.usefixtures("small_model")
def test_what_a_model_runs_on_is_tried_and_told(prost: Prost) -> None:
    found = checks(prost("doctor", "--json"))
    assert "cores" in str(found["processor"]["detail"]) and "threads for a model" in str(
        found["processor"]["detail"]
    )
    assert "bf16" in str(found["precision"]["detail"])
    assert found["encoding"]["ok"] is True
    assert found["encoding"]["detail"] == "a sentence and a clip of 4 frames on cpu"


@pytest.mark.usefixtures("small_model")
def test_extras_are_those_of_the_package(
    prost: Prost, library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    project = tomllib.loads((Path(__file__).parents[2] / "pyproject.toml").read_text("utf-8"))["project"]
    assert set(doctor.EXTRAS) == set(project["optional-dependencies"]) - {"dev"}
    stated = ["av>=14", "pytest>=8; extra == 'index'", "no-such-package<2; extra == 'plot'"]
    monkeypatch.setattr("prost.apps.cli.doctor.requires", lambda _: stated)
    found = checks(prost("doctor", "--library", library, "--json"))
    assert str(found["extra index"]["detail"]).startswith("pytest ")
    assert str(found["extra plot"]["detail"]).startswith(
        "not installed (pip install '.[plot]' in the folder of prost's source): "
    )
    assert found["extra plot"]["ok"] is None


@pytest.mark.usefixtures("small_model")
def test_the_library_is_counted_with_its_failures(
    prost: Prost, library: Path, videos: Path, untrained_folder: Path
) -> None:
    assert prost("index", videos, "--library", library, "--model", untrained_folder).code == 0
    detail = str(checks(prost("doctor", "--library", library, "--json"))["library"]["detail"])
    assert detail.startswith("3 videos, 3 clips")
    assert detail.endswith("1 failed: not a video")


@pytest.mark.usefixtures("small_model")
def test_a_library_that_was_named_must_be_there(prost: Prost, library: Path) -> None:
    said = prost("doctor", "--library", library, "--json")
    assert said.code == 1
    assert checks(said)["library"]["ok"] is False
    assert str(checks(said)["library"]["detail"]).startswith(f"no library at {library}; expected: ")
    assert checks(said)["library model"] == {
        "name": "library model",
        "ok": None,
        "detail": f"no library at {library}",
    }


@pytest.mark.usefixtures("small_model")
def test_a_damaged_library_is_an_exit_code(prost: Prost, library: Path) -> None:
    library.mkdir()
    (library / "library.json").write_text("{")
    said = prost("doctor", "--library", library)
    assert said.code == 1
    assert "WRONG" in said.out and "library.json" in said.out


@pytest.mark.usefixtures("small_model")
def test_a_cut_file_and_a_lost_model_are_seen_without_verifying(
    prost: Prost, library: Path, videos: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    own = tmp_path / "own-model"
    shutil.copytree(untrained_folder, own)
    assert prost("index", videos, "--library", library, "--model", own).code == 0
    said = prost("doctor", "--library", library, "--json")
    assert said.code == 0 and checks(said)["library model"]["ok"] is True

    shutil.move(own, tmp_path / "elsewhere")
    said = prost("doctor", "--library", library, "--json")
    assert said.code == 1 and checks(said)["library model"]["ok"] is False
    assert checks(said)["library"]["ok"] is True

    (data, *_) = sorted((library / "clips.lance" / "data").iterdir())
    data.write_bytes(b"")
    said = prost("doctor", "--library", library, "--json")
    assert said.code == 1 and "has 0 bytes instead of" in str(checks(said)["library"]["detail"])


def damage(library: Path) -> None:
    """Change a byte in the middle of the clips' data."""
    (data, *_) = sorted((library / "clips.lance" / "data").iterdir())
    content = bytearray(data.read_bytes())
    content[len(content) // 3] ^= 0xFF
    data.write_bytes(content)


@pytest.mark.usefixtures("small_model")
def test_a_sound_library_is_verified(prost: Prost, indexed: Path) -> None:
    said = prost("doctor", "--library", indexed, "--verify", "--json")
    assert said.code == 0 and checks(said)["library files"]["detail"] == "all files are sound"


@pytest.mark.usefixtures("small_model")
def test_damage_is_found_and_repaired(prost: Prost, indexed: Path) -> None:
    damage(indexed)
    said = prost("doctor", "--library", indexed, "--verify", "--json")
    assert said.code == 1 and checks(said)["library files"]["ok"] is False
    assert "damaged: " in said.err and "--repair" in str(checks(said)["library files"]["detail"])
    said = prost("doctor", "--library", indexed, "--repair", "--json")
    assert said.code == 0, said.err
    assert "repaired: " in said.err
    assert "0 left; 3 videos encoded again" in str(checks(said)["library files"]["detail"])
    assert prost("doctor", "--library", indexed, "--verify").code == 0
    assert len(prost("search", "a ball", "--library", indexed, "--json").json) == 3


def test_a_check_that_raises_is_wrong_and_says_why() -> None:
    def failing() -> str:
        raise ValueError("a red video\ncame back blue")

    check = doctor._tried("H.264", failing)
    assert (check.ok, check.detail) == (False, "a red video came back blue")
