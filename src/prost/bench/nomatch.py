"""Does a search say when nothing fits? Queries whose video is in the gallery against queries whose video was left out.

A Toybox gallery of twice as many videos as queries gives both kinds: each query is true of one video only, and half of
the videos are indexed. Order-swapped twins stay together, so nothing in the gallery fits a query of the other half.
Three statistics of the best score decide: the score itself, its z-score among the scores of the query, and the false
alarm rate of a hit (`prost.search.confidence`), which has to tell how often the queries without a video reach it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.real import RealPrototypes, encode_scenes
from prost.data.toybox import Caption, Gallery, Scene, gallery, holds
from prost.data.toybox.drawing import COLOURS
from prost.evaluation.machine import describe_machine
from prost.model.encoding import encode_text
from prost.model.matching import VideoPrototypes, match
from prost.model.prost import ProST
from prost.progress import Advance
from prost.search.background import PROFILE_CLIPS
from prost.search.confidence import GOOD, TWO_SIDED_95, FalseAlarms, Profile
from prost.search.unrelated import unrelated_sentences

SEED = 47
SMALLER_GALLERIES = (100, 200, 500)
SENTENCES_AT_ONCE = 100


@dataclass(frozen=True, kw_only=True)
class FalseAlarmCount:
    """How often queries without a video reach a false alarm rate.

    Attributes:
        level: the rate.
        queries: queries without a video.
        alarms: how many of them have a hit of that rate or less.
        rate: their fraction.
        expected: 95 % interval of the fraction if the rate is true, from the number of queries alone.
    """

    level: float
    queries: int
    alarms: int
    rate: float
    expected: tuple[float, float]


@dataclass(frozen=True, kw_only=True)
class NoMatchReport:
    """Figures of one model; fractions from 0 to 1.

    Attributes:
        model: its name.
        queries: of each kind, and videos of the gallery.
        unrelated: sentences of the background.
        auroc: of the false alarm rate: how often a query with a video gets a lower rate than one without.
        auroc_interval: of it, at 95 % (Hanley and McNeil 1982).
        auroc_score: the same for the best score.
        auroc_z_score: the same for its z-score among the scores of the query.
        auroc_all_clips: the same as `auroc` with profiles over all clips instead of a sample.
        auroc_one_colour: queries with a video against the same queries with another colour, which fit nothing.
        auroc_found_first: only those queries with a video that rank it first.
        auroc_of_size: `auroc` in galleries of fewer videos, by their number.
        recall_at_1: fraction of the queries with a video that rank it first.
        recall_of_size: the same in galleries of fewer videos.
        accepted: fraction of the queries with a video whose best hit has a rate of at most `GOOD`.
        false_alarms: at that rate.
        machine: that measured it.
    """

    model: str
    queries: int
    unrelated: int
    auroc: float
    auroc_interval: tuple[float, float]
    auroc_score: float
    auroc_z_score: float
    auroc_all_clips: float
    auroc_one_colour: float
    auroc_found_first: float
    auroc_of_size: dict[int, float]
    recall_at_1: float
    recall_of_size: dict[int, float]
    accepted: float
    false_alarms: FalseAlarmCount
    machine: dict[str, str | int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_no_match(model: ProST, queries: int, advance: Advance) -> NoMatchReport:
    """Compare queries that fit a video of a gallery with queries that fit none.

    Args:
        model: one of drawn videos.
        queries: of each kind; the gallery has as many videos.
        advance: called after each batch of videos.
    """
    drawn = gallery(f"toybox-{2 * queries}")
    random = np.random.default_rng(SEED)
    indexed = half_of(drawn, random)
    absent = np.setdiff1d(np.arange(len(drawn)), indexed)
    scenes = [drawn.scenes[place] for place in indexed]
    clips = encode_scenes(model, scenes, advance)
    with_video = _scores(model, [drawn.queries[place].text for place in indexed], clips)
    without = _scores(model, [drawn.queries[place].text for place in absent], clips)
    recoloured = _scores(
        model, _recoloured([drawn.queries[place] for place in indexed], scenes, random), clips
    )
    unrelated = _scores(model, unrelated_sentences(model), clips)

    sample = np.linspace(0, queries - 1, min(queries, PROFILE_CLIPS)).round().astype(int)
    every = np.arange(queries)
    rates, other_rates = (_rates(scores, unrelated, every, sample) for scores in (with_video, without))
    auroc = area_under_curve(-rates, -other_rates)
    first = with_video.argmax(axis=1) == every
    alarms = int((other_rates <= GOOD).sum())
    sizes = [size for size in SMALLER_GALLERIES if size < queries]
    smaller = {size: random.permutation(queries)[:size] for size in sizes}
    return NoMatchReport(
        model=model.config.name,
        queries=queries,
        unrelated=len(unrelated),
        auroc=auroc,
        auroc_interval=_interval_of_area(auroc, queries),
        auroc_score=area_under_curve(with_video.max(axis=1), without.max(axis=1)),
        auroc_z_score=area_under_curve(_z_scores(with_video), _z_scores(without)),
        auroc_all_clips=area_under_curve(
            *(-_rates(scores, unrelated, every, every) for scores in (with_video, without))
        ),
        auroc_one_colour=area_under_curve(-rates, -_rates(recoloured, unrelated, every, sample)),
        auroc_found_first=area_under_curve(-rates[first], -other_rates),
        auroc_of_size={
            size: area_under_curve(
                -_rates(with_video[few], unrelated, few, few[:PROFILE_CLIPS]),
                -_rates(without, unrelated, few, few[:PROFILE_CLIPS]),
            )
            for size, few in smaller.items()
        },
        recall_at_1=float(first.mean()),
        recall_of_size={
            size: float((with_video[few][:, few].argmax(axis=1) == np.arange(size)).mean())
            for size, few in smaller.items()
        },
        accepted=float((rates <= GOOD).mean()),
        false_alarms=FalseAlarmCount(
            level=GOOD,
            queries=queries,
            alarms=alarms,
            rate=alarms / queries,
            expected=_expected_fraction(GOOD, queries),
        ),
        machine=describe_machine(),
    )


def table(report: NoMatchReport) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""

    def versus(area: float) -> str:
        return f"{area:.3f} ({area / report.auroc:.2f} x)"

    alarms = report.false_alarms
    return ["measure", ">value"], [
        ["AUROC, false alarm rate", f"{report.auroc:.3f}"],
        ["its 95% interval", "{:.3f} - {:.3f}".format(*report.auroc_interval)],
        ["AUROC, best score", versus(report.auroc_score)],
        ["AUROC, z-score", versus(report.auroc_z_score)],
        ["AUROC, false alarm rate, profiles over all clips", versus(report.auroc_all_clips)],
        ["AUROC, absent queries that differ in one colour", versus(report.auroc_one_colour)],
        ["AUROC, queries that rank their video first", versus(report.auroc_found_first)],
        *(
            [f"AUROC (R@1, %) in {size} videos", f"{area:.3f} ({100 * report.recall_of_size[size]:.1f})"]
            for size, area in report.auroc_of_size.items()
        ),
        ["R@1, %", f"{100 * report.recall_at_1:.1f}"],
        [f"queries with a video at a rate up to {100 * alarms.level:g} %, %", f"{100 * report.accepted:.1f}"],
        [f"queries without a video at a rate up to {100 * alarms.level:g} %, %", f"{100 * alarms.rate:.1f}"],
        ["expected of these, %", "{:.1f} - {:.1f}".format(*(100 * bound for bound in alarms.expected))],
    ]


def area_under_curve(positives: NDArray[np.float64], negatives: NDArray[np.float64]) -> float:
    """Area under the ROC curve: how often a positive is larger than a negative; ties count half.

    >>> area_under_curve(np.array([2.0, 1.0]), np.array([1.0, 0.0]))
    0.875
    """
    from scipy.stats import rankdata

    ranks = rankdata(np.concatenate([positives, negatives]))[: len(positives)]
    least = len(positives) * (len(positives) + 1) / 2
    return float((ranks.sum() - least) / (len(positives) * len(negatives)))


def _interval_of_area(area: float, count: int) -> tuple[float, float]:
    """95 % interval of an area from `count` positives and as many negatives, by Hanley and McNeil's variance."""
    one, two = area / (2 - area), 2 * area**2 / (1 + area)
    variance = (area * (1 - area) + (count - 1) * (one + two - 2 * area**2)) / count**2
    half = TWO_SIDED_95 * math.sqrt(variance)
    return max(0.0, area - half), min(1.0, area + half)


def _expected_fraction(level: float, count: int) -> tuple[float, float]:
    """The middle 95 % of the binomial distribution, as fractions."""
    from scipy.stats import binom

    low, high = binom.interval(0.95, count, level)
    return float(low) / count, float(high) / count


def half_of(drawn: Gallery, random: np.random.Generator) -> NDArray[np.intp]:
    """Half of the videos; of twins both or none."""
    groups = [
        [place] if twin is None else [place, twin]
        for place, twin in enumerate(drawn.twin)
        if twin is None or place < twin
    ]
    random.shuffle(groups)
    pairs = [group for group in groups if len(group) == 2]
    singles = [group[0] for group in groups if len(group) == 1]
    # Pairs first: single videos fill exactly what is left.
    chosen = [place for pair in pairs[: len(pairs) // 2] for place in pair]
    chosen += singles[: len(drawn) // 2 - len(chosen)]
    return np.array(sorted(chosen), dtype=np.intp)


def _recoloured(
    queries: Sequence[Caption], scenes: Sequence[Scene], random: np.random.Generator
) -> list[str]:
    """The queries with one colour changed, where that makes them true of no video."""
    changed = []
    for query in queries:
        for place in random.permutation(len(query.claims)):
            old = query.claims[place].colour
            if old is None or query.text.split().count(old) != 1:
                continue
            new = str(random.choice([colour for colour in COLOURS if colour != old]))
            claims = [
                replace(claim, colour=new) if number == place else claim
                for number, claim in enumerate(query.claims)
            ]
            if not any(holds(claims, scene) for scene in scenes):
                changed.append(" ".join(new if word == old else word for word in query.text.split()))
                break
    return changed


def _scores(model: ProST, sentences: Sequence[str], clips: RealPrototypes) -> NDArray[np.float64]:
    """Similarity of sentences to clips `[Q, n]`."""
    text = encode_text(model, sentences)
    video = VideoPrototypes(
        torch.from_numpy(clips.object).transpose(1, 2).contiguous(), torch.from_numpy(clips.event), None
    )
    with torch.inference_mode():
        parts = [
            match(text[first : first + SENTENCES_AT_ONCE], video, model.config.object_phrase_weight).total
            for first in range(0, len(text), SENTENCES_AT_ONCE)
        ]
    return torch.cat(parts).double().numpy()


def _z_scores(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    z: NDArray[np.float64] = (scores.max(axis=1) - scores.mean(axis=1)) / scores.std(axis=1)
    return z


def _rates(
    scores: NDArray[np.float64],
    unrelated: NDArray[np.float64],
    videos: NDArray[np.intp],
    sample: NDArray[np.intp],
) -> NDArray[np.float64]:
    """False alarm rates of the best hits in a gallery of some of the videos, with profiles over a sample of them."""
    profiles = [_profile(row[sample]) for row in unrelated]
    known = [[each.mean, each.upper] for each in profiles if each is not None]
    alarms = FalseAlarms(best=unrelated[:, videos].max(axis=1), profiles=np.array(known) if known else None)
    return np.array(
        [
            alarms.confidence(float(row[videos].max()), _profile(row[sample])).false_alarm_rate
            for row in scores
        ]
    )


def _profile(scores: NDArray[np.float64]) -> Profile | None:
    return Profile.of(scores.astype(np.float32))
