"""Miniature copies of benchmarks: their files in the published forms, beside tiny real videos."""

from __future__ import annotations

import json
import pickle
import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from tests.video.conftest import write_video


@dataclass(frozen=True)
class Miniature:
    """A folder to be filled like a benchmark's."""

    folder: Path
    video: Path

    def text(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
        return path

    def lines(self, name: str, *lines: str) -> Path:
        return self.text(name, "".join(f"{line}\n" for line in lines))

    def json(self, name: str, value: Any) -> Path:
        return self.text(name, json.dumps(value))

    def pickle(self, name: str, value: Any, protocol: int = 4) -> Path:
        path = self.folder / name
        path.write_bytes(pickle.dumps(value, protocol))
        return path

    def videos(self, *names: str) -> None:
        """Real MP4 files, whatever their extension says."""
        for name in names:
            path = self.folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(self.video, path)


@pytest.fixture(scope="session")
def one_second(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_video(tmp_path_factory.mktemp("miniature") / "one.mp4", frames=5, fps=5).path


@pytest.fixture
def mini(tmp_path: Path, one_second: Path) -> Miniature:
    folder = tmp_path / "benchmark"
    folder.mkdir()
    return Miniature(folder, one_second)
