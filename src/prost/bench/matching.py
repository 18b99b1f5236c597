"""How long the similarity search of a test set takes: Table 1 of the paper, by the authors' loops and by ours.

The ways are in `prost.bench.matching_ways`. Both models are measured in the authors' way and in ours, since the table
compares the loops as much as the models: as one matrix product TS2-Net needs far less arithmetic than ProST.

A step of training, the scores of a batch and their gradients, is measured by the plain einsum and by ours.

Long runs are measured in part and scaled up; `measured_fraction` says how much was measured. All ways of a group run in
turn, several rounds, with a burst of a large matrix product before and after each, because other work on the machine
slows down all of them. Times, rates and ratios are medians over the rounds.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch

from prost.bench.matching_ways import CPU, Group, MatchingSizes, Way, groups_of
from prost.errors import UsageError
from prost.evaluation.machine import describe_machine
from prost.model import eight_bits
from prost.progress import Advance

PRODUCT_SIZE = 2048
REPETITIONS = 5


@dataclass(frozen=True, kw_only=True)
class MatchingRow:
    """One way to compute all scores of a test set.

    Attributes:
        name: model and way.
        sizes: of the test set.
        dtype: type of the matrix products.
        seconds: wall time for all pairs; scaled up if `measured_fraction` is below 1.
        measured_fraction: fraction of the work that was measured, several times.
        gflops: rate of the arithmetic that the scores need, in 10^9 operations a second; arithmetic that a way does
            twice does not count.
        gemm_gflops: rate of a large matrix product of the same type, in the bursts between.
        share_of_gemm: the one rate over the other, median of the repetitions, each beside its neighbouring bursts.
        speedup: how many times as fast as the first row of its group (equal sizes and model), median of the rounds.
        peak_mb: memory beside the prototypes at its peak, in MiB; None where the system cannot tell.
    """

    name: str
    sizes: MatchingSizes
    dtype: str
    seconds: float
    measured_fraction: float
    gflops: float
    gemm_gflops: float
    share_of_gemm: float
    speedup: float
    peak_mb: float | None


@dataclass(frozen=True, kw_only=True)
class MatchingReport:
    """All rows of a run.

    Attributes:
        machine: processor, threads and versions.
        gemm_gflops: best rate of a large matrix product, by type.
        rows: one for each test set and way.
        not_measured: ways for which memory did not suffice, in words.
    """

    machine: dict[str, str | int]
    gemm_gflops: dict[str, float]
    rows: list[MatchingRow]
    not_measured: list[str]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


def measure_matching(
    test_sets: Sequence[MatchingSizes],
    seconds: float,
    progress: Advance,
    *,
    batches: Sequence[int] = (128,),
    device: torch.device = CPU,
) -> MatchingReport:
    """Time all ways on random prototypes of some test sets.

    Args:
        test_sets: sizes of at least one.
        seconds: time to spend on each way, roughly; what takes longer is scaled up.
        progress: is called before each way.
        batches: numbers of texts and videos of steps of training.
        device: computes everything.

    Raises:
        UsageError: no seconds.
    """
    if seconds <= 0:
        raise UsageError(f"{seconds:g} seconds for each way", "more than 0")
    burst = seconds / REPETITIONS
    best: dict[str, float] = {}
    for dtype in (torch.float32, torch.bfloat16):
        rates = [_gemm_gflops(dtype, test_sets[0].width, burst, device) for _ in range(3)]
        best[_name(dtype)] = max(rates)
    rows: list[MatchingRow] = []
    not_measured: list[str] = []
    groups, total = 0, (2 + len(batches)) * len(test_sets)
    for sizes in test_sets:
        for group in groups_of(sizes, batches, device):
            progress(groups, total, f"{group.sizes.name}: {group.ways[0].name.partition(',')[0]}")
            rows += measure_group(group, seconds, device)
            not_measured += group.not_measured
            groups += 1
    for row in rows:
        best[row.dtype] = max(best.get(row.dtype, 0.0), row.gemm_gflops)
    progress(total, total, "done")
    machine = describe_machine()
    if device.type == "cuda":
        machine["gpu"] = torch.cuda.get_device_name(device)
    return MatchingReport(machine=machine, gemm_gflops=best, rows=rows, not_measured=not_measured)


def table(report: MatchingReport) -> tuple[list[str], list[list[str]]]:
    """Column headings and rows of a report, for people."""
    columns = [
        "test set",
        "way",
        "type",
        ">time, s",
        ">measured",
        ">GFLOP/s",
        ">of GEMM",
        ">speed-up",
        ">peak, MiB",
    ]
    rows = [
        [
            row.sizes.name,
            row.name,
            row.dtype,
            f"{row.seconds:.3g}",
            f"{100 * row.measured_fraction:.3g}%",
            f"{row.gflops:.3g}",
            f"{row.share_of_gemm:.2f}",
            f"{row.speedup:.2f}",
            "-" if row.peak_mb is None else f"{row.peak_mb:.0f}",
        ]
        for row in report.rows
    ]
    return columns, rows


@torch.inference_mode()
def measure_group(group: Group, seconds: float, device: torch.device) -> list[MatchingRow]:
    """Time the ways of a group in turn, several rounds; arguments as for `measure_matching`."""
    ways = group.ways
    parts = [_units_within(way, seconds / REPETITIONS) for way in ways]
    rounds = [
        [
            _run_once(way, units, group.sizes.width, seconds, device)
            for way, units in zip(ways, parts, strict=True)
        ]
        for _ in range(REPETITIONS)
    ]
    first = np.array([runs[0].seconds for runs in rounds])  # of the whole work
    rows = []
    for place, (way, units) in enumerate(zip(ways, parts, strict=True)):
        runs = [runs[place] for runs in rounds]
        times, gemm = np.array([run.seconds for run in runs]), np.array([run.gemm_gflops for run in runs])
        rates = way.flops / times / 1e9
        peaks = [run.peak_mb for run in runs if run.peak_mb is not None]
        rows.append(
            MatchingRow(
                name=way.name,
                sizes=group.sizes,
                dtype=_name(way.dtype),
                seconds=float(np.median(times)),
                measured_fraction=units / way.units,
                gflops=float(np.median(rates)),
                gemm_gflops=float(np.median(gemm)),
                share_of_gemm=float(np.median(rates / gemm)),
                speedup=float(np.median(first / times)),
                peak_mb=max(peaks, default=None),
            )
        )
    return rows


class _Run(NamedTuple):
    """One run of a way.

    Attributes:
        seconds: of the whole work, scaled up if a part of it was run.
        gemm_gflops: rate of a large product just before and after, mean.
        peak_mb: see `MatchingRow`.
    """

    seconds: float
    gemm_gflops: float
    peak_mb: float | None


def _run_once(way: Way, units: int, width: int, seconds: float, device: torch.device) -> _Run:
    burst = seconds / REPETITIONS / 8
    before = _gemm_gflops(way.dtype, width, burst, device)
    resting = _reset_peak(device)
    start = time.perf_counter()
    way.run(units)  # ends with a copy to numpy, and so with all work on the device done
    took = time.perf_counter() - start
    peak = None if resting is None else max(0.0, _peak_mb(device) - resting)
    gemm = (before + _gemm_gflops(way.dtype, width, burst, device)) / 2
    return _Run(took * way.units / units, gemm, peak)


def _units_within(way: Way, seconds: float) -> int:
    """How many units take about so many seconds; at least as many as the way wants."""
    units = way.least
    while True:
        start = time.perf_counter()
        way.run(units)
        took = time.perf_counter() - start
        if units == way.units or took >= seconds / 2:
            return units
        # A few units tell the rate only roughly, so grow in steps.
        units = min(way.units, 8 * units, max(units + 1, int(units * seconds / took)))


def _gemm_gflops(dtype: torch.dtype, width: int, seconds: float, device: torch.device) -> float:
    """Rate of large matrix products over a short time, in 10^9 operations a second."""
    multiply = _large_product(dtype, width, device)
    multiply()
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < seconds:
        multiply()
        count += 1
    return 2.0 * count * PRODUCT_SIZE**2 * width / (time.perf_counter() - start) / 1e9


def _large_product(dtype: torch.dtype, width: int, device: torch.device) -> Callable[[], object]:
    """One large matrix product of a type; for int8 the one that matching uses too, with its factors."""
    if dtype == torch.int8:
        phrases = torch.ones(eight_bits.TEXTS, PRODUCT_SIZE // eight_bits.TEXTS, width)
        codes, weights = phrases.flatten(0, 1).to(dtype), eight_bits.packed(phrases, PRODUCT_SIZE)
        return lambda: eight_bits.product(codes, *weights)
    one, other = (torch.ones(PRODUCT_SIZE, width, dtype=dtype, device=device) for _ in range(2))
    product = torch.empty(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype, device=device)

    def multiply() -> None:
        torch.mm(one, other.T, out=product)
        if device.type == "cuda":
            torch.cuda.synchronize(device)

    return multiply


def _reset_peak(device: torch.device) -> float | None:
    """Count the peak of memory anew: the GPU's, or on Linux this process's.

    Returns:
        The memory now, MiB; None where the system cannot tell.
    """
    if device.type == "cuda":
        torch.cuda.reset_peak_memory_stats(device)
        return torch.cuda.memory_allocated(device) / 2**20
    if device.type != "cpu":
        return None
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _peak_mb(device)


def _peak_mb(device: torch.device) -> float:
    if device.type == "cuda":
        return torch.cuda.max_memory_allocated(device) / 2**20
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
