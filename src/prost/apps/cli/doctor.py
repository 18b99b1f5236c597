"""`prost doctor`: is everything there that prost needs, and how is the library?"""

from __future__ import annotations

import os
import platform
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path

import typer

from prost import __version__
from prost.apps.cli.options import DEFAULT_MODEL, JsonOption, LibraryOption
from prost.apps.cli.output import print_json, print_table
from prost.errors import MissingPath

PACKAGES = ("torch", "transformers", "av", "pylance", "numpy")
RED = (200, 30, 30)


@dataclass(frozen=True)
class Check:
    """One question and its answer; `ok` is None where there is nothing to judge."""

    name: str
    ok: bool | None
    detail: str


def doctor(library: LibraryOption, as_json: JsonOption = False) -> None:
    """Check the installation and the library. The exit code is 1 when something is wrong."""
    checks = [
        Check("prost", None, __version__),
        Check("python", None, platform.python_version()),
        *(Check(package, None, version(package)) for package in PACKAGES),
        Check("FFmpeg", None, _ffmpeg()),
        Check("processor", None, f"{os.cpu_count()} cores"),
        Check("GPU", None, _gpu()),
        Check("disk", None, _free_space(library)),
        _tried("H.264", _encode_and_decode),
        _tried("bundled model", _load_bundled_model),
        _tried("library", lambda: _library_health(library)),
    ]
    if as_json:
        print_json([{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks])
    else:
        words = {True: "ok", False: "WRONG", None: ""}
        print_table(
            ["part", "", "what was found"], [[check.name, words[check.ok], check.detail] for check in checks]
        )
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _tried(name: str, attempt: Callable[[], str]) -> Check:
    # Whatever goes wrong in a check is its answer: the other checks still have to run.
    try:
        return Check(name, True, attempt())
    except Exception as error:
        return Check(name, False, " ".join(str(error).split()) or type(error).__name__)


def _ffmpeg() -> str:
    import av

    libraries = (
        f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items())
    )
    return f"{av.ffmpeg_version_info} ({', '.join(libraries)})"


def _gpu() -> str:
    import torch

    return torch.cuda.get_device_name() if torch.cuda.is_available() else "none (the processor is used)"


def _free_space(library: str) -> str:
    place = Path.home() if "://" in library else Path(library).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return f"{shutil.disk_usage(place).free / 1e9:.1f} GB free in {place}"


def _encode_and_decode() -> str:
    """Write a tiny red video and look at it again."""
    import av
    import numpy as np

    from prost.video.decode import decode_frames

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "red.mp4"
        red = np.full((64, 64, 3), RED, dtype=np.uint8)
        with av.open(str(path), "w") as container:
            stream = container.add_stream("h264", rate=10, options={"crf": "18"})
            stream.width, stream.height, stream.pix_fmt = 64, 64, "yuv420p"
            for _ in range(10):
                container.mux(stream.encode(av.VideoFrame.from_ndarray(red, format="rgb24")))
            container.mux(stream.encode())
            encoder = stream.codec_context.codec.name
        seen = decode_frames(path, np.array([0.5]), 32).pixels.mean(axis=(0, 1, 2))
    if abs(seen - RED).max() > 16:
        raise ValueError(f"a red video came back as {seen.round().tolist()}")
    return f"written with {encoder} and read back"


def _load_bundled_model() -> str:
    from prost.model.checkpoint import load_prost

    model = load_prost(DEFAULT_MODEL)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    return f"{DEFAULT_MODEL}, {millions:.1f} million weights, fingerprint {model.fingerprint}"


def _library_health(path: str) -> str:
    from prost.search.library import Library

    try:
        library = Library(path)
    except MissingPath:
        return f"none at {path} yet"
    stats = library.stats()
    reasons = Counter(row.reason for row in library.videos("status = 'failed'"))
    failures = "".join(f"; {count} failed: {reason}" for reason, count in reasons.most_common())
    return (
        f"{stats.videos} videos, {stats.clips} clips, {stats.seconds / 3600:.1f} hours, {stats.nbytes / 1e6:.0f} MB, "
        f"made by {stats.model} ({stats.fingerprint}){failures}"
    )
