"""A disk of temporary files that refuses is a problem with a reason, no fault of prost."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path

import pytest
from tests.apps.server.conftest import Running


@pytest.fixture
def no_temporary_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The folder of temporary files is gone, as when its disk was unplugged."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "gone"))


@pytest.mark.parametrize("form", ["json", "fcpxml", "clips"])
@pytest.mark.usefixtures("no_temporary_folder")
def test_an_export(running: Running, form: str) -> None:
    video = running.first("0")
    selection = [{"video": video["id"], "start": 0.0, "end": 1.0}]
    asked = {"query": "a ball", "form": form, "selection": selection}
    answer = running.client.post("/api/export", json=asked)
    assert answer.status_code == 503 and answer.headers["retry-after"]
    assert "temporary files" in answer.json()["detail"] and "No such file" in answer.json()["detail"]


@pytest.mark.usefixtures("no_temporary_folder")
def test_a_preview(running: Running) -> None:
    video = running.first("0")
    answer = running.client.get(f"/api/videos/{video['id']}/preview?start=0.25&end=1.25")
    assert answer.status_code == 503 and "temporary files" in answer.json()["detail"]


def test_a_file_that_does_not_fit() -> None:
    """In a process that may only write small files; the folder is removed all the same."""
    code = (
        "import resource, tempfile\n"
        "from prost.apps.server.temporary import temporary_folder\n"
        "from prost.errors import StorageError\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000))\n"
        "try:\n"
        "    with temporary_folder() as folder:\n"
        "        (folder / 'large').write_bytes(bytes(2000))\n"
        "except StorageError as error:\n"
        "    print(folder.exists(), error)\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("False the folder of temporary files cannot be used (File too large)")
