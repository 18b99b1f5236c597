"""One run: encode real videos, generate a library, find its exact best clips, and measure search and rivals."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from prost.bench.exact_answers import ExactAnswers, answers_file, find_exact_answers, largest_difference
from prost.bench.generator import Generator, Recombination
from prost.bench.library import (
    GeneratedLibrary,
    build_library,
    expect_room,
    library_folder,
    needed_bytes,
    open_library,
)
from prost.bench.measure import Measurement, measure_search
from prost.bench.real import held_out_captions
from prost.bench.realism import Realism, fit_recombination, judge
from prost.bench.rivals import RIVALS, Exhaustive, Rival, measure_exhaustive, measure_rivals
from prost.bench.sizes import PUBLISHED, PrototypeSource
from prost.data.writing import written_whole
from prost.errors import UsageError
from prost.evaluation.machine import describe_machine
from prost.model.matching import TextPrototypes
from prost.printable import format_bytes
from prost.progress import Advance

WANTED = 10
FEWEST_VIDEOS = 12
CHECKED_CLIPS = 64

Say = Callable[[str], None]


@dataclass(frozen=True, kw_only=True)
class BenchSettings:
    """Settings of a run.

    Attributes:
        clips: number of clips in the generated library.
        work: folder for real prototypes and libraries; results of earlier runs there are used again.
        model: name or path, as for `prost.load`.
        like: key in `PUBLISHED`, for prototypes of the sizes of a published model; None for the model's own.
        queries: number of held-out captions, each with its exact best ten clips.
        videos: number of real videos to encode; three quarters are recombined, the others are compared with the result.
        rivals: keys in `RIVALS`.
        seed: seed of the generator.
    """

    clips: int
    work: Path
    model: str = "toybox"
    like: str | None = None
    queries: int = 50
    videos: int = 4000
    rivals: Sequence[str] = tuple(RIVALS)
    seed: int = 0

    def __post_init__(self) -> None:
        if self.clips < WANTED:
            raise UsageError(f"a library of {self.clips} clips", f"{WANTED} clips or more")
        if self.videos < FEWEST_VIDEOS:
            raise UsageError(f"{self.videos} real videos", f"{FEWEST_VIDEOS} or more")
        if self.like is not None and self.like not in PUBLISHED:
            raise UsageError(f"no sizes are called {self.like!r}", " or ".join(PUBLISHED))
        unknown = sorted(set(self.rivals) - set(RIVALS))
        if unknown:
            raise UsageError(f"no rival is called {unknown[0]!r}", ", ".join((*RIVALS, "none")))


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Results of a run.

    Attributes:
        plan: the settings.
        width: D.
        recombination: fitted settings of the generator.
        realism: comparison of generated clips with real ones.
        library: the library and the statistics of its build.
        truth_s: time to find the exact best clips of all queries, seconds.
        truth_difference: largest difference between scores from recipes and from prototypes.
        measured: measurement of scan and rerank.
        exhaustive: time of scoring all clips exactly.
        rivals: indexes with the same rerank.
        machine: processor and versions.
    """

    plan: BenchSettings
    width: int
    recombination: Recombination
    realism: Realism
    library: GeneratedLibrary
    truth_s: float
    truth_difference: float
    measured: Measurement
    exhaustive: Exhaustive
    rivals: list[Rival]
    machine: dict[str, str | int]


def run(plan: BenchSettings, say: Say, progress: Advance) -> Outcome:
    """Build what is missing, then measure.

    Args:
        plan: settings.
        say: called with one line after each step.
        progress: called during each step.

    Raises:
        StorageError: not enough free space for the library.
    """
    source = PrototypeSource.open(plan.model, plan.like)
    sizes, weight = source.sizes, source.object_phrase_weight
    folder = library_folder(plan.work, source.description, plan.clips)
    if not folder.is_dir():
        expect_room(folder, needed_bytes(plan.clips, sizes))  # before minutes of encoding

    real = source.videos(plan.work, plan.videos, progress)
    recombined = len(real) * 3 // 4
    fitted_to = recombined + (len(real) - recombined) // 3
    base, held_out, unseen = real[:recombined], real[recombined:fitted_to], real[fitted_to:]
    text = source.sentences(held_out_captions(plan.queries))
    progress(0, 1, "fitting the generator")
    recombination = fit_recombination(base, held_out, plan.seed)
    generator = Generator(base, recombination)
    realism = judge(generator, unseen, text, weight)

    made_of = {"clips": plan.clips, "videos": plan.videos, **asdict(recombination)}
    library = open_library(folder, made_of)
    if library is None:
        needed = needed_bytes(plan.clips, sizes)
        free = expect_room(folder, needed)
        say(f"{folder} will take up to {format_bytes(needed)} on disk; {format_bytes(free)} are free")
        library = build_library(folder, source.description, generator, plan.clips, made_of, progress)
    say(f"library: {plan.clips} clips, built in {sum(library.build.seconds.values()):.0f} s")

    truth, truth_s = _truth(library, generator, plan, text, weight, progress)
    say(f"exact best of {plan.queries} queries: {truth_s:.0f} s")
    difference = largest_difference(generator, min(CHECKED_CLIPS, plan.clips), text[:8], weight)
    progress(0, 1, "searching")
    measured = measure_search(library, plan.model, plan.like, held_out_captions(plan.queries), truth)
    progress(0, 1, "scoring all clips exactly")
    exhaustive = measure_exhaustive(generator, plan.clips, text, weight)
    rivals = measure_rivals(library, plan.rivals, text, truth, weight, progress)
    return Outcome(
        plan=plan,
        width=sizes.width,
        recombination=recombination,
        realism=realism,
        library=library,
        truth_s=truth_s,
        truth_difference=difference,
        measured=measured,
        exhaustive=exhaustive,
        rivals=rivals,
        machine=describe_machine(),
    )


def _truth(
    library: GeneratedLibrary,
    generator: Generator,
    plan: BenchSettings,
    text: TextPrototypes,
    weight: float,
    progress: Advance,
) -> tuple[ExactAnswers, float]:
    """The exact best clips of the queries, cached beside the library, and the seconds it took to find them."""
    file = answers_file(library.folder, plan.queries, weight)
    if not file.is_file():
        start = time.perf_counter()
        truth = find_exact_answers(generator, plan.clips, text, weight, WANTED, progress)
        seconds = time.perf_counter() - start
        with written_whole(file) as partial, partial.open("wb") as stream:
            np.savez(stream, rows=truth.rows, scores=truth.scores, seconds=seconds)
    kept = np.load(file)
    return ExactAnswers(rows=kept["rows"], scores=kept["scores"]), float(kept["seconds"])
