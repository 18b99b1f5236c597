"""What a library of 10^8 or 10^9 clips takes, and how long a search over many shards waits for the slowest of them.

    python benchmarks/fan_out.py    prints the tables of docs/scale.md, about a minute

Figures per clip come from `benchmarks/results`. The median time of a shard is that of its two measured parts, scan and
rerank, as they grow with the number of clips. Around it, times vary in two ways: by the sentence, which is as hard for
each shard and each replica, and by the machine, which differs from request to request. Both are log-normal through
measured 50th and 95th percentiles. A front sends each sentence to one replica of every shard and waits for all.
Replicas work in the order of arrival. A hedged request is sent to another replica when the first has not answered in
time, and is called back when that answers. The first request is not called back.
"""

from __future__ import annotations

import argparse
import heapq
import json
import math
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

RESULTS = Path(__file__).parent / "results"
# By width: libraries of a million clips were measured at D 128 alone.
SEARCHES = {
    128: {clips: RESULTS / f"2026-11-28-search-{clips}.json" for clips in (10_000, 100_000, 1_000_000)},
    512: {100_000: RESULTS / "2026-11-28-search-prost-b16-100000.json"},
}
ENCODING = RESULTS / "2026-11-28-encoding-avx512-b16.json"
NORMAL_95 = statistics.NormalDist().inv_cdf(0.95)
# Sizes of a clip as in the paper.
FRAMES, OBJECTS, EVENTS = 12, 12, 3
CORES = 2  # on which searches and encoding were measured
# Floating-point operations of a ViT-B/16 for a frame, and what a GPU is assumed to do of them in a second.
FRAME_FLOP, GPU_FLOP = 35e9, 3e14

Draw = Callable[[np.random.Generator, tuple[int, ...]], NDArray[np.float64]]


@dataclass(frozen=True, kw_only=True)
class Fan:
    """A front with shards behind it.

    Attributes:
        shards: that hold a part of the clips each.
        replicas: of each shard.
        load: fraction of the time that a replica works, without hedges.
        hedge: a second request is sent after this quantile of the service time; None for never.
    """

    shards: int
    replicas: int = 1
    load: float = 0.3
    hedge: float | None = None


def simulate(
    fan: Fan, of_machine: Draw, of_sentence: Draw, sentences: int, seed: int = 0
) -> NDArray[np.float64]:
    """Time from a sentence's arrival to the answer of its slowest shard `[sentences]`.

    Args:
        fan: what is simulated.
        of_machine: draws service times, for each request anew.
        of_sentence: draws factors of them, one for each sentence.
        sentences: number of them; they arrive at random (Poisson).
        seed: of all draws.
    """
    random = np.random.default_rng(seed)
    probe = of_machine(random, (20_000,)) * of_sentence(random, (20_000,))
    gap = float(probe.mean()) / (fan.load * fan.replicas)
    wait = math.inf if fan.hedge is None or fan.replicas < 2 else float(np.quantile(probe, fan.hedge))
    arrivals = np.cumsum(random.exponential(gap, sentences))
    factors = of_sentence(random, (sentences,))
    free = np.zeros((fan.shards, fan.replicas))
    answered = np.empty((sentences, fan.shards))
    chosen = np.zeros((sentences, fan.shards), dtype=np.intp)
    events = [(float(at), number, False) for number, at in enumerate(arrivals)]  # ascending, so a heap
    while events:
        at, number, hedged = heapq.heappop(events)
        shards = np.flatnonzero(answered[number] > at) if hedged else np.arange(fan.shards)
        queues = free[shards]
        if hedged:
            queues[np.arange(len(shards)), chosen[number, shards]] = math.inf
        replica = queues.argmin(axis=1)
        took = of_machine(random, (len(shards),)) * factors[number]
        begins = np.maximum(at, free[shards, replica])
        ends = begins + took
        if hedged:
            first = answered[number, shards]
            # Called back with the first answer, or before it begins.
            busy = begins < first
            free[shards[busy], replica[busy]] = np.minimum(ends, first)[busy]
            answered[number, shards] = np.minimum(ends, first)
            continue
        free[shards, replica] = ends
        answered[number], chosen[number] = ends, replica
        if ends.max() > at + wait:
            heapq.heappush(events, (at + wait, number, True))
    return answered.max(axis=1) - arrivals


def expected_maximum(shards: int, mean: float) -> float:
    """Expected maximum of independent exponential times: the mean, times the harmonic number.

    >>> expected_maximum(2, 10.0)
    15.0
    """
    return mean * math.fsum(1 / place for place in range(1, shards + 1))


def log_normal(median: float, p95: float) -> Draw:
    """Draws from the log-normal distribution with this median and this 95th percentile."""
    deviation = math.log(p95 / median) / NORMAL_95
    return lambda random, shape: median * np.exp(deviation * random.standard_normal(shape))


@dataclass(frozen=True, kw_only=True)
class Measured:
    """What was measured of searches and of encoding.

    Attributes:
        find: milliseconds of the scan at D 128, by clips.
        rerank: milliseconds of the rerank at D 128, by clips.
        wider_find: milliseconds that the scan takes longer at D 512, in libraries of one size.
        wider_rerank: how many times as long the rerank takes there.
        of_sentence: 95th percentile as a multiple of the median, in the largest library.
        of_machine: the same in the smallest one, where sentences take nearly the same time.
        from_disk: 50th and 95th percentile of a search in the largest library, its rows not in the page cache, ms.
        packs: bytes of codes and 8-bit events for a clip, by width.
        rows: bytes of the tables for a clip, by width.
        clips_a_second: that one core encodes with a ViT-B/16, in float32 and in the fastest form.
    """

    find: dict[int, float]
    rerank: dict[int, float]
    wider_find: float
    wider_rerank: float
    of_sentence: float
    of_machine: float
    from_disk: tuple[float, float]
    packs: dict[int, float]
    rows: dict[int, float]
    clips_a_second: tuple[float, float]

    @classmethod
    def read(cls) -> Measured:
        """From `benchmarks/results`."""
        reports, wide = (
            {clips: json.loads(path.read_text(encoding="utf-8")) for clips, path in SEARCHES[width].items()}
            for width in (128, 512)
        )
        parts = {clips: report["parts_p50_ms"] for clips, report in reports.items()}
        ((same, wide_report),) = wide.items()
        wide_parts = wide_report["parts_p50_ms"]
        forms = json.loads(ENCODING.read_text(encoding="utf-8"))["forms"]
        rates = {form["name"]: form["clips_per_s"] / CORES for form in forms if form["passed"]}
        most, least = reports[max(reports)], reports[min(reports)]
        sizes = most["bytes_per_clip_by_part"]
        packs = sum(size for part, size in sizes.items() if part.startswith("packs"))
        rows = sum(size for part, size in sizes.items() if not part.startswith("packs"))
        # 8-bit objects, float32 events and, in the packs, 8-bit events grow with the width; nothing else does.
        rows_grow, packs_grow = FRAMES * OBJECTS + 4 * EVENTS, EVENTS
        return cls(
            find={clips: part["find"] for clips, part in parts.items()},
            rerank={clips: part["rerank"] for clips, part in parts.items()},
            wider_find=wide_parts["find"] - parts[same]["find"],
            wider_rerank=wide_parts["rerank"] / parts[same]["rerank"],
            of_sentence=most["p95_ms"] / most["p50_ms"],
            of_machine=least["p95_ms"] / least["p50_ms"],
            from_disk=tuple(most["cold_rows_without_text_ms"]),
            packs={width: packs + (width - 128) * packs_grow for width in (128, 512)},
            rows={width: rows + (width - 128) * rows_grow for width in (128, 512)},
            clips_a_second=(rates["fp32"], max(rates.values())),
        )

    def median_ms(self, clips: int, width: int) -> float:
        """Median time of a search in one shard: linear growth of the scan, growth of the rerank by the logarithm."""
        _, few, many = sorted(self.find)
        find = self.find[many] + (clips - many) * (self.find[many] - self.find[few]) / (many - few)
        decade = (self.rerank[many] - self.rerank[few]) / math.log10(many / few)
        rerank = self.rerank[many] + decade * math.log10(clips / many)
        if width == 512:
            find, rerank = find + self.wider_find, rerank * self.wider_rerank
        return find + rerank


def capacity_table(measured: Measured) -> list[str]:
    """What 10^8 and 10^9 clips take."""
    lines = [
        "| clips | D | tables, TB | codes in memory, GB | core-days to encode, float32 | fastest form "
        "| GPU-days (assumed) | core-seconds a search, shards of 10^6 | of 10^7 |",
        "|---" * 9 + "|",
    ]
    gpu = GPU_FLOP / (FRAME_FLOP * FRAMES)
    for power in (8, 9):
        clips = 10**power
        days = [clips / rate / 86400 for rate in (*measured.clips_a_second, gpu)]
        for width in (128, 512):
            core_seconds = [
                CORES * clips / shard * measured.median_ms(shard, width) / 1000 for shard in (10**6, 10**7)
            ]
            lines.append(
                f"| 10^{power} | {width} | {clips * measured.rows[width] / 1e12:.1f} "
                f"| {clips * measured.packs[width] / 1e9:,.0f} | {days[0]:,.0f} | {days[1]:,.0f} | {days[2]:.1f} "
                f"| {core_seconds[0]:.1f} | {core_seconds[1]:.1f} |"
            )
    return lines


FANS = (
    ("1 replica, load 0.1", {"replicas": 1, "load": 0.1}),
    ("1 replica, load 0.5", {"replicas": 1, "load": 0.5}),
    ("2 replicas, load 0.1", {"replicas": 2, "load": 0.1}),
    ("the same, hedged", {"replicas": 2, "load": 0.1, "hedge": 0.95}),
    ("2 replicas, load 0.5", {"replicas": 2, "load": 0.5}),
    ("the same, hedged", {"replicas": 2, "load": 0.5, "hedge": 0.95}),
)


def latency_tables(measured: Measured, sentences: int) -> list[str]:
    """Times of a search by number of shards, load, replicas and hedging: p50 / p99, ms; the sentence not encoded."""
    names = " | ".join(name for name, _ in FANS)
    lines = [
        f"| clips | a shard | shards | D | one shard p50 | {names} |",
        "|---" * (4 + 1 + len(FANS)) + "|",
    ]
    sentence = log_normal(1.0, measured.of_sentence)
    for power, each in ((6, 6), (8, 7), (8, 6), (9, 7), (9, 6)):
        shards = 10 ** (power - each)
        for width in (128, 512):
            median = measured.median_ms(10**each, width)
            cells = _times(shards, log_normal(median, median * measured.of_machine), sentence, sentences)
            lines.append(f"| 10^{power} | 10^{each} | {shards:,} | {width} | {median:.0f} | {cells} |")
    lines += ["", f"| clips, rows from the disk | shards | {names} |", "|---" * (2 + len(FANS)) + "|"]
    for power in (6, 7, 8, 9):
        shards = 10 ** (power - 6)
        cells = _times(shards, log_normal(*measured.from_disk), log_normal(1.0, 1.0), sentences)
        lines.append(f"| 10^{power} | {shards:,} | {cells} |")
    return lines


def _times(shards: int, of_machine: Draw, of_sentence: Draw, sentences: int) -> str:
    """One row of cells, for each of `FANS`."""
    found = [simulate(Fan(shards=shards, **fan), of_machine, of_sentence, sentences) for _, fan in FANS]
    return " | ".join(
        " / ".join(f"{value:,.0f}" for value in np.quantile(times, [0.5, 0.99])) for times in found
    )


def main() -> None:
    """Print the tables, or measure."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--sentences", type=int, default=2000, help="that are simulated for each figure")
    given = parser.parse_args()
    measured = Measured.read()
    print("\n".join(capacity_table(measured)), end="\n\n")
    print("\n".join(latency_tables(measured, given.sentences)))


if __name__ == "__main__":
    main()
