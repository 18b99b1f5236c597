"""`prost doctor`: checks the installation and the library, and repairs the library."""

from __future__ import annotations

import os
import platform
import re
import shutil
import tempfile
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path
from typing import Annotated

import typer

from prost import __version__
from prost.apps.cli.index import show_indexed
from prost.apps.cli.options import (
    DeviceOption,
    JsonOption,
    LibraryOption,
    ModelOption,
    WaitOption,
    WorkersOption,
    default_library,
    load_library_model,
)
from prost.apps.cli.output import print_json, print_table, progress, say
from prost.errors import MissingPath, install_extra
from prost.model.catalogue import BUNDLED
from prost.printable import counted, format_bytes

PACKAGES = ("torch", "av", "pylance", "numpy")
# What each extra of the package gives.
EXTRAS = {
    "index": "an index over the events of very large libraries",
    "openclip": "models of open_clip, such as PE-Core",
    "timeline": "moments as timelines of video editors",
    "plot": "figures of an explanation",
    "tensorboard": "logs of a training for TensorBoard",
    "serve": "the server and its page",
    "mcp": "a library as a tool of assistants (MCP)",
    "onnx": "encoding videos by ONNX Runtime",
    "openvino": "encoding videos by OpenVINO",
    "s3": "libraries on object storage",
    "ray": "indexing and serving on a Ray cluster",
    "mteb": "models on the tasks of mteb",
    "bench": "what prost bench needs to draw and to compare",
}
RED = (200, 30, 30)


@dataclass(frozen=True, kw_only=True)
class Check:
    """One part that was checked.

    Attributes:
        name: the part.
        ok: whether it is as it should be; None where there is nothing to judge.
        detail: what was found.
    """

    name: str
    ok: bool | None
    detail: str


class NothingToJudge(Exception):
    """What a check looks at is not there, and need not be."""


def doctor(
    library: LibraryOption,
    verify: Annotated[
        bool,
        typer.Option("--verify", help="Read the whole library and compare every file with its checksum."),
    ] = False,
    repair: Annotated[
        bool,
        typer.Option(
            "--repair",
            help="Verify the library, remove what is damaged, and encode again the videos that lost clips.",
        ),
    ] = False,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    workers: WorkersOption = None,
    wait: WaitOption = False,
    as_json: JsonOption = False,
) -> None:
    """Check the installation and the library. The exit code is 1 if something is wrong.

    --device, --workers and --wait are for --repair.
    """
    checks = [
        _info("prost", __version__),
        _info("python", platform.python_version()),
        *(_info(package, version(package)) for package in PACKAGES),
        _info("FFmpeg", _ffmpeg()),
        _info("processor", _processor()),
        _info("GPU", _gpu()),
        _info("precision", _precision()),
        _info("disk", _free_space(library)),
        _tried("H.264", _encode_and_decode),
        _tried("bundled model", _load_bundled_model),
        _tried("encoding", _encode_something),
        *_extras(),
    ]
    if repair:
        checks.append(_repaired(library, model, device, workers, wait))
    elif verify:
        checks.append(_verified(library))
    checks.append(_tried("library", lambda: _library_health(library)))
    checks.append(_tried("library model", lambda: _library_model(library, model)))
    if as_json:
        print_json([{"name": check.name, "ok": check.ok, "detail": check.detail} for check in checks])
    else:
        words = {True: "ok", False: "WRONG", None: ""}
        print_table(
            ["part", "", "what was found"], [[check.name, words[check.ok], check.detail] for check in checks]
        )
    if any(check.ok is False for check in checks):
        raise typer.Exit(1)


def _info(name: str, detail: str) -> Check:
    return Check(name=name, ok=None, detail=detail)


def _tried(name: str, attempt: Callable[[], str]) -> Check:
    # Any error is the result of this check; the other checks still have to run.
    try:
        return Check(name=name, ok=True, detail=attempt())
    except NothingToJudge as nothing:
        return _info(name, str(nothing))
    except Exception as error:
        return Check(name=name, ok=False, detail=" ".join(str(error).split()) or type(error).__name__)


def _verified(library: str) -> Check:
    from prost.search.verifying import verify_library

    problems = verify_library(library)
    for problem in problems:
        say(f"damaged: {problem}")
    detail = (
        f"{counted(len(problems), 'problem')}; --repair mends the library"
        if problems
        else "all files are sound"
    )
    return Check(name="library files", ok=not problems, detail=detail)


def _repaired(library: str, model: str | None, device: str, workers: int | None, wait: bool) -> Check:
    from prost.search.repairing import repair_library

    with progress("encoding again", "files") as show:
        report = repair_library(
            library,
            load_library_model(library, model, device),
            workers=workers,
            wait=wait,
            progress=lambda at: show_indexed(show, at),
        )
    for problem in report.problems:
        say(f"{'still damaged' if problem in report.left else 'repaired'}: {problem}")
    for folder in report.set_aside:
        say(f"set aside, can be deleted: {folder}")
    for path, reason in report.failed:
        say(f"failed: {path}: {reason}")
    if report.videos_kept:
        kept = counted(report.videos_kept, "entry was", "entries were")
        say(
            f"note: {kept} taken over from data files whose list was lost; what had been removed may be back, and what "
            "is missing comes back by prost index with its folders"
        )
    elif any("/videos.lance." in place for place in report.set_aside):
        say("note: the list of videos was lost; prost index with their folders makes it anew, without tags")
    if report.videos_lost:
        lost = counted(report.videos_lost, "entry was", "entries were")
        say(f"note: {lost} lost; prost index with their folders adds them again")
    detail = (
        f"{counted(len(report.problems), 'problem')}, {len(report.left)} left; "
        f"{counted(len(report.encoded), 'video')} encoded again, "
        f"{len(report.failed)} failed"
        if report.problems
        else "all files are sound"
    )
    return Check(name="library files", ok=not report.left and not report.failed, detail=detail)


def _ffmpeg() -> str:
    import av

    libraries = (
        f"{name} {'.'.join(map(str, numbers))}" for name, numbers in sorted(av.library_versions.items())
    )
    return f"{av.ffmpeg_version_info} ({', '.join(libraries)})"


def _processor() -> str:
    import torch

    from prost.evaluation.machine import processor_name
    from prost.video.reader import usable_cores

    usable = usable_cores()
    cores = f"{os.cpu_count()} cores" + (f", {usable} of them usable" if usable != os.cpu_count() else "")
    return f"{processor_name()}, {cores}, {torch.get_num_threads()} threads for a model"


def _gpu() -> str:
    import torch

    if torch.cuda.is_available():
        name, memory = torch.cuda.get_device_name(), torch.cuda.get_device_properties(0).total_memory
        return f"{name}, {format_bytes(memory)}"
    if torch.backends.mps.is_available():
        return "Apple's (only with --device mps)"
    return "none (the processor is used)"


def _precision() -> str:
    from prost.model.encoding import choose_device, has_fast_bf16

    if has_fast_bf16(choose_device()):
        return "bf16 is fast here; --precision auto takes it"
    return "fp32 for --precision auto; bf16 is not faster here"


def _encode_something() -> str:
    """Encode a sentence and a clip of noise, as a search and an indexing do, and look at the numbers."""
    import numpy as np

    from prost.model.checkpoint import load_prost
    from prost.model.encoding import VideoEncoder

    model = load_prost(BUNDLED)
    config = model.config
    shape = (1, config.frames, config.image_size, config.image_size, 3)
    pixels = np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8)
    text, video = model.encode_text(["a red ball falls"]), VideoEncoder(model).encode(pixels)
    for tensor in (*text.tensors(), *video.tensors()):
        if not tensor.isfinite().all():
            raise ValueError("the model gives numbers that are not finite")
    return f"a sentence and a clip of {config.frames} frames on {model.device}"


def _extras() -> list[Check]:
    """Which extras are installed, as the package states what belongs to each."""
    needed: dict[str, list[str]] = {name: [] for name in EXTRAS}
    for requirement in requires("prost-video") or []:
        package, _, marker = requirement.partition(";")
        found = re.search(r"""extra == ['"](\w+)['"]""", marker)
        if found and found[1] in needed:
            needed[found[1]].append(re.split(r"[\s<>=!~\[]", package, maxsplit=1)[0])
    return [_info(f"extra {name}", _extra(name, packages)) for name, packages in needed.items()]


def _extra(name: str, packages: list[str]) -> str:
    versions: list[str] = []
    for package in packages:
        try:
            versions.append(f"{package} {version(package)}")
        except PackageNotFoundError:
            return f"not installed ({install_extra(name)}): {EXTRAS[name]}"
    return f"{', '.join(versions)}: {EXTRAS[name]}"


def _free_space(library: str) -> str:
    from prost.object_store import is_remote

    place = Path.home() if is_remote(library) else Path(library).expanduser().absolute()
    while not place.exists():
        place = place.parent
    return f"{format_bytes(shutil.disk_usage(place).free)} free in {place}"


def _encode_and_decode() -> str:
    """Write a tiny red video and decode it."""
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

    model = load_prost(BUNDLED)
    millions = sum(weight.numel() for weight in model.parameters()) / 1e6
    return f"{BUNDLED}, {millions:.1f} million weights, fingerprint {model.fingerprint}"


def _library_health(path: str) -> str:
    from prost.search.library import Library

    try:
        library = Library(path)
    except MissingPath:
        if path != default_library():  # it was named, so that a name with a mistake must not pass
            raise
        raise NothingToJudge(f"none at {path} yet") from None
    library.check_sizes()
    stats = library.stats()
    reasons = Counter(row.reason for row in library.videos("status = 'failed'"))
    failures = "".join(f"; {count} failed: {reason}" for reason, count in reasons.most_common())
    return (
        f"{counted(stats.videos, 'video')}, {counted(stats.clips, 'clip')}, {stats.seconds / 3600:.1f} hours, "
        f"{format_bytes(stats.nbytes)}, made by {stats.model} ({stats.fingerprint}){failures}"
    )


def _library_model(path: str, model: str | None) -> str:
    """Load the model that searches of the library load; opening the library with it compares the two."""
    from prost.search.library import Library

    try:
        Library(path)
    except MissingPath:
        raise NothingToJudge(f"no library at {path}") from None
    loaded = load_library_model(path, model, "cpu")
    return f"{Library(path, loaded).description.model} loads and fits"
