"""How long the similarity search of a test set takes: Table 1 of the paper, by the authors' loops and by ours.

The authors' code scores pairs of small batches of texts and videos and copies every block of scores to numpy. For
ProST it makes all cosines of a pair and takes their maxima. For TS2-Net it also runs the temporal transformer over the
same videos again for every batch of texts. Both models are measured in both ways, since the table compares the loops as
much as the models: as one matrix product TS2-Net needs far less arithmetic than ProST.

A step of training, the scores of a batch and their gradients, is measured by the plain einsum and by ours.

Long runs are measured in part and scaled up; `measured_fraction` says how much was measured. All ways of a group run in
turn, several rounds, with a burst of a large matrix product before and after each, because other work on the machine
slows down all of them. Times, rates and ratios are medians over the rounds.
"""

from __future__ import annotations

import functools
import itertools
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.errors import UsageError
from prost.evaluation.machine import describe_machine
from prost.model.matching import TextPrototypes, VideoPrototypes, bfloat16_is_faster, match, unit
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures
from prost.model.ts2net import TS2Net, TS2NetConfig
from prost.progress import Advance

# Texts and videos of a batch in the authors' test scripts.
BATCH = 16
# Cosines that the plain einsum makes at once: 256 MiB.
EINSUM_COSINES = 2**26
PRODUCT_SIZE = 2048
REPETITIONS = 5
# Each frame has its class token and three selected tokens; layers of the temporal transformer.
TS2NET_TOKENS, TS2NET_LAYERS = 4, 4


@dataclass(frozen=True, kw_only=True)
class MatchingSizes:
    """A test set's sizes.

    Attributes:
        name: of the test set.
        frames: L.
        texts, videos: of the test set.
        phrases: N_p.
        slots: N_o.
        events: N_e.
        width: D.
    """

    name: str
    frames: int
    texts: int = 1000
    videos: int = 1000
    phrases: int = 28
    slots: int = 12
    events: int = 3
    width: int = 512

    @property
    def prost_flops(self) -> float:
        """Floating point operations of ProST's cosines of all pairs."""
        cosines = self.phrases * self.frames * self.slots + self.events
        return 2.0 * self.texts * self.videos * cosines * self.width

    @property
    def training_flops(self) -> float:
        """Operations of ProST's cosines of all pairs, and of the gradient that flows to the best one of each slot."""
        return self.prost_flops + 4.0 * self.texts * self.videos * (self.slots + 1) * self.width

    @property
    def ts2net_flops(self) -> float:
        """Operations of TS2-Net's cosines of all pairs, and of its temporal transformer once for each video."""
        tokens = TS2NET_TOKENS * self.frames
        # For each token and layer: 12 D^2 weights, and 2 N D products of the attention.
        layer = 12 * self.width**2 + 2 * tokens * self.width
        transformer = 2.0 * self.videos * tokens * TS2NET_LAYERS * layer
        return 2.0 * self.texts * self.videos * self.frames * self.width + transformer


MSRVTT, DIDEMO = MatchingSizes(name="MSR-VTT", frames=12), MatchingSizes(name="DiDeMo", frames=64)


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
    """

    machine: dict[str, str | int]
    gemm_gflops: dict[str, float]
    rows: list[MatchingRow]

    def to_dict(self) -> dict[str, Any]:
        """For JSON."""
        return asdict(self)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute the scores, in equal units of work.

    Attributes:
        name: model and way.
        flops: operations that all scores need.
        units: number of units of the whole work: pairs of batches, or videos.
        run: does the first n units, and returns their scores: those of all texts and the first videos, or of the first
            batches.
        dtype: type of the matrix products.
    """

    name: str
    flops: float
    units: int
    run: Callable[[int], NDArray[np.float32]]
    dtype: torch.dtype = torch.float32


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ways to do the same work, which are measured in turn.

    Attributes:
        sizes: of the work.
        ways: the others are compared with the first one.
    """

    sizes: MatchingSizes
    ways: tuple[Way, ...]


def measure_matching(
    test_sets: Sequence[MatchingSizes], seconds: float, progress: Advance, *, batch: int = 128
) -> MatchingReport:
    """Time all ways on random prototypes of some test sets.

    Args:
        test_sets: sizes of at least one.
        seconds: time to spend on each way, roughly; what takes longer is scaled up.
        progress: is called before each way.
        batch: texts and videos of a step of training.

    Raises:
        UsageError: no seconds.
    """
    if seconds <= 0:
        raise UsageError(f"{seconds:g} seconds for each way", "more than 0")
    burst = seconds / REPETITIONS
    best = {
        _name(dtype): max(_gemm_gflops(dtype, test_sets[0].width, burst) for _ in range(3))
        for dtype in (torch.float32, torch.bfloat16)
    }
    rows: list[MatchingRow] = []
    total = (7 + bfloat16_is_faster()) * len(test_sets)
    for sizes in test_sets:
        for group in groups_of(sizes, batch):
            progress(len(rows), total, f"{group.sizes.name}: {group.ways[0].name.partition(',')[0]}")
            rows += _measure(group, seconds)
    for row in rows:
        best[row.dtype] = max(best[row.dtype], row.gemm_gflops)
    progress(total, total, "done")
    return MatchingReport(machine=describe_machine(), gemm_gflops=best, rows=rows)


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


def groups_of(sizes: MatchingSizes, batch: int) -> Iterator[Group]:
    """All ways to score one test set, and to train on a batch; the prototypes of one group are in memory at a time."""
    yield Group(sizes=sizes, ways=tuple(_prost_ways(sizes)))
    yield Group(sizes=sizes, ways=tuple(_ts2net_ways(sizes)))
    step = replace(sizes, name=f"{sizes.name}, training", texts=batch, videos=batch)
    yield Group(sizes=step, ways=tuple(_training_ways(step)))


def _prost_ways(sizes: MatchingSizes) -> Iterator[Way]:
    text, video = _random_prototypes(sizes)
    pairs = _batch_pairs(sizes)

    def loop(units: int) -> NDArray[np.float32]:
        return _assemble((pair, _plain_scores(text[pair[0]], video[pair[1]])) for pair in pairs[:units])

    def plain(units: int) -> NDArray[np.float32]:
        part = video[:units]
        at_once = max(1, EINSUM_COSINES // (part.object[..., 0].numel() * sizes.phrases))
        blocks = [slice(first, first + at_once) for first in range(0, sizes.texts, at_once)]
        return torch.cat([_plain_scores(text[block], part) for block in blocks]).numpy()

    def tiles(units: int, dtype: torch.dtype) -> NDArray[np.float32]:
        return match(text.mapped(lambda tensor: tensor.to(dtype)), video[:units]).total.numpy()

    yield Way(name="ProST, einsum", flops=sizes.prost_flops, units=sizes.videos, run=plain)
    yield Way(name="ProST, pairs of batches (authors)", flops=sizes.prost_flops, units=len(pairs), run=loop)
    yield Way(
        name="ProST, prost.match",
        flops=sizes.prost_flops,
        units=sizes.videos,
        run=functools.partial(tiles, dtype=torch.float32),
    )
    if bfloat16_is_faster():
        video = video.mapped(lambda tensor: tensor.to(torch.bfloat16))
        yield Way(
            name="ProST, prost.match",
            flops=sizes.prost_flops,
            units=sizes.videos,
            run=functools.partial(tiles, dtype=torch.bfloat16),
            dtype=torch.bfloat16,
        )


def _ts2net_ways(sizes: MatchingSizes) -> Iterator[Way]:
    model = _ts2net(sizes)
    generator = torch.Generator().manual_seed(0)
    text = SentenceFeatures(torch.randn(sizes.texts, sizes.width, generator=generator))
    tokens = torch.randn(sizes.videos, sizes.frames, TS2NET_TOKENS, sizes.width, generator=generator)
    pairs = _batch_pairs(sizes)

    def frames(videos: slice) -> FrameFeatures:
        own = tokens[videos]
        return FrameFeatures(model.transformer(own.flatten(1, 2)).view_as(own)[:, :, 0])

    def loop(units: int) -> NDArray[np.float32]:
        return _assemble((pair, model.match(text[pair[0]], frames(pair[1])).total) for pair in pairs[:units])

    def once(units: int) -> NDArray[np.float32]:
        batches = [slice(first, min(first + BATCH, units)) for first in range(0, units, BATCH)]
        video = FrameFeatures(torch.cat([frames(batch).frame for batch in batches]))
        return model.match(text, video).total.numpy()

    yield Way(
        name="TS2-Net, pairs of batches (authors)", flops=sizes.ts2net_flops, units=len(pairs), run=loop
    )
    yield Way(name="TS2-Net, one product", flops=sizes.ts2net_flops, units=sizes.videos, run=once)


def _training_ways(sizes: MatchingSizes) -> Iterator[Way]:
    with torch.inference_mode(False):  # tensors that were made in inference mode get no gradient
        text, video = _random_prototypes(sizes)

    def step(score: Callable[[TextPrototypes, VideoPrototypes], Tensor], _: int) -> NDArray[np.float32]:
        with torch.inference_mode(False), torch.enable_grad():
            scores = score(text.mapped(_leaf), video.mapped(_leaf))
            torch.nn.functional.cross_entropy(100 * scores, torch.arange(len(scores))).backward()
            return scores.detach().numpy()

    ways = {"einsum": _plain_scores, "prost.match": lambda text, video: match(text, video).total}
    for name, score in ways.items():
        run = functools.partial(step, score)
        yield Way(name=f"ProST, {name} and its gradient", flops=sizes.training_flops, units=1, run=run)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _random_prototypes(sizes: MatchingSizes) -> tuple[TextPrototypes, VideoPrototypes]:
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0))
    text = TextPrototypes(draw(sizes.texts, sizes.phrases, sizes.width), draw(sizes.texts, sizes.width))
    video = VideoPrototypes(
        draw(sizes.videos, sizes.frames, sizes.slots, sizes.width),
        draw(sizes.videos, sizes.events, sizes.width),
    )
    return text, video


def _plain_scores(text: TextPrototypes, video: VideoPrototypes) -> Tensor:
    """Similarity `[A, B]` by all cosines at once and their maxima, as the formula is written."""
    cosines = torch.einsum("apd,blod->ablop", unit(text.phrase), unit(video.object))
    object_phrase = cosines.amax(dim=(2, 4)).mean(dim=2)
    event_sentence = torch.einsum("ad,bed->abe", unit(text.sentence), unit(video.event)).amax(dim=2)
    return event_sentence + 1.5 * object_phrase


def _batch_pairs(sizes: MatchingSizes) -> list[tuple[slice, slice]]:
    """Pairs of batches in the order of the authors' loop: all videos for one batch of texts, then the next one."""
    texts, videos = (
        [slice(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
        for count in (sizes.texts, sizes.videos)
    )
    return list(itertools.product(texts, videos))


def _assemble(blocks: Iterable[tuple[tuple[slice, slice], Tensor]]) -> NDArray[np.float32]:
    """Copy each block to numpy and put the blocks together, as the authors do; NaN where there is none."""
    rows: dict[int, list[NDArray[np.float32]]] = {}
    for (texts, _), scores in blocks:
        rows.setdefault(texts.start, []).append(scores.cpu().detach().numpy())
    joined = [np.concatenate(row, axis=1) for row in rows.values()]
    widest = joined[0].shape[1]
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, widest - row.shape[1])), constant_values=np.nan) for row in joined]
    )


def _ts2net(sizes: MatchingSizes) -> TS2Net:
    """A TS2-Net whose temporal transformer has the paper's size; the vision tower is not used and is tiny."""
    torch.manual_seed(0)
    config = TS2NetConfig.parse(
        {
            "clip": {
                "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
                "text_layers": 1, "vocabulary": 16, "text_positions": 16,
            },
            "width": sizes.width, "frames": sizes.frames, "max_words": 16, "token_shift_blocks": [],
            "selected_tokens": TS2NET_TOKENS - 1, "temporal_layers": TS2NET_LAYERS,
            "positions": TS2NET_TOKENS * sizes.frames,
        }
    )  # fmt: skip
    return TS2Net(config).eval()


@torch.inference_mode()
def _measure(group: Group, seconds: float) -> list[MatchingRow]:
    ways = group.ways
    parts = [_units_within(way, seconds / REPETITIONS) for way in ways]
    rounds = [
        [_run_once(way, units, group.sizes.width, seconds) for way, units in zip(ways, parts, strict=True)]
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


def _run_once(way: Way, units: int, width: int, seconds: float) -> _Run:
    burst = seconds / REPETITIONS / 8
    before = _gemm_gflops(way.dtype, width, burst)
    resting = _reset_peak()
    start = time.perf_counter()
    way.run(units)
    took = time.perf_counter() - start
    peak = None if resting is None else max(0.0, _peak_mb() - resting)
    gemm = (before + _gemm_gflops(way.dtype, width, burst)) / 2
    return _Run(took * way.units / units, gemm, peak)


def _units_within(way: Way, seconds: float) -> int:
    """How many units take about so many seconds; at least one."""
    units = 1
    while True:
        start = time.perf_counter()
        way.run(units)
        took = time.perf_counter() - start
        if units == way.units or took >= seconds / 2:
            return units
        # A few units tell the rate only roughly, so grow in steps.
        units = min(way.units, 8 * units, max(units + 1, int(units * seconds / took)))


def _gemm_gflops(dtype: torch.dtype, width: int, seconds: float) -> float:
    """Rate of large matrix products over a short time, in 10^9 operations a second."""
    one, other = (torch.ones(PRODUCT_SIZE, width, dtype=dtype) for _ in range(2))
    product = torch.empty(PRODUCT_SIZE, PRODUCT_SIZE, dtype=dtype)
    torch.mm(one, other.T, out=product)
    count, start = 0, time.perf_counter()
    while not count or time.perf_counter() - start < seconds:
        torch.mm(one, other.T, out=product)
        count += 1
    return 2.0 * count * PRODUCT_SIZE**2 * width / (time.perf_counter() - start) / 1e9


def _reset_peak() -> float | None:
    """Make Linux count this process's peak of memory anew; the memory now, MiB, or None where that is not possible."""
    try:
        Path("/proc/self/clear_refs").write_text("5", encoding="ascii")
    except OSError:
        return None
    return _peak_mb()


def _peak_mb() -> float:
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM:"))


def _name(dtype: torch.dtype) -> str:
    return str(dtype).removeprefix("torch.")
