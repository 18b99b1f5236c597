"""Does a search say when nothing fits? Queries whose video is in the gallery against queries whose video was left out.

A Toybox gallery of twice as many videos as queries gives both kinds: each query is true of one video only, and half of
the videos are indexed. Order-swapped twins stay together, so nothing in the gallery fits a query of the other half.
Three statistics of the best score decide: the score itself, its z-score among the scores of the query, and the false
alarm rate of a hit (`prost.search.confidence`), which has to tell how often the queries without a video reach it. If
the model has a joint scorer, the false alarm rate is that of its best logit, as in a search.

These queries tell whole stories. Sentences about one event are asked as well, because short sentences are matched more
easily: those of the indexed videos, and those of the others as far as they are true of no indexed one.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from prost.bench.real import encode_scenes
from prost.data.toybox import Caption, Gallery, Scene, describe_event, gallery, holds
from prost.data.toybox.drawing import COLOURS
from prost.evaluation.joint_scores import joint_scores
from prost.evaluation.machine import describe_machine
from prost.evaluation.metrics import Scores
from prost.model.encoding import encode_text
from prost.model.matching import TextPrototypes, VideoPrototypes, match
from prost.model.prost import ProST
from prost.progress import Advance
from prost.search.background import PROFILE_CLIPS
from prost.search.confidence import GOOD, SIMILAR, TWO_SIDED_95, FalseAlarms, Profile, number_of_words
from prost.search.unrelated import COUNT, unrelated_sentences

SEED = 47
SMALLER_GALLERIES = (100, 200, 500)
SENTENCES_AT_ONCE = 100
# Further lots of unrelated sentences, which show how much a rate owes to those that were drawn.
FURTHER_LOTS = 3


@dataclass(frozen=True, kw_only=True)
class FalseAlarmCount:
    """How often queries without a video reach a false alarm rate.

    Attributes:
        level: the rate.
        queries: queries without a video.
        alarms: how many of them have a hit of that rate or less.
        rate: their fraction.
        expected: 95 % interval of the fraction if the level is kept; the queries are a sample, and so are the unrelated
            sentences that each is compared with.
        with_other_sentences: the fraction with other unrelated sentences, once for each lot.
    """

    level: float
    queries: int
    alarms: int
    rate: float
    expected: tuple[float, float]
    with_other_sentences: tuple[float, ...]


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
        auroc_joint: the same for the best logit of the joint scorer; None for a model without one.
        auroc_all_clips: the same as `auroc` with profiles over all clips instead of a sample.
        auroc_one_colour: queries with a video against the same queries with another colour, which fit nothing.
        auroc_found_first: only those queries with a video that rank it first.
        auroc_of_size: `auroc` in galleries of fewer videos, by their number.
        recall_at_1: fraction of the queries with a video that rank it first.
        recall_of_size: the same in galleries of fewer videos.
        accepted: fraction of the queries with a video whose best hit has a rate of at most `GOOD`.
        false_alarms: at that rate.
        auroc_one_event: `auroc` of sentences about one event.
        accepted_one_event: `accepted` of them.
        false_alarms_one_event: of those that are true of no video of the gallery.
        machine: that measured it.
    """

    model: str
    queries: int
    unrelated: int
    auroc: float
    auroc_interval: tuple[float, float]
    auroc_score: float
    auroc_z_score: float
    auroc_joint: float | None
    auroc_all_clips: float
    auroc_one_colour: float
    auroc_found_first: float
    auroc_of_size: dict[int, float]
    recall_at_1: float
    recall_of_size: dict[int, float]
    accepted: float
    false_alarms: FalseAlarmCount
    auroc_one_event: float
    accepted_one_event: float
    false_alarms_one_event: FalseAlarmCount
    machine: dict[str, str | int]

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON."""
        return asdict(self)


def measure_no_match(
    model: ProST, queries: int, advance: Advance, *, further_lots: int = FURTHER_LOTS
) -> NoMatchReport:
    """Compare queries that fit a video of a gallery with queries that fit none.

    Args:
        model: one of drawn videos.
        queries: of each kind; the gallery has as many videos.
        advance: called after each batch of videos.
        further_lots: of unrelated sentences, for which false alarms are counted again.
    """
    drawn = gallery(f"toybox-{2 * queries}")
    random = np.random.default_rng(SEED)
    indexed = half_of(drawn, random)
    absent = np.setdiff1d(np.arange(len(drawn)), indexed)
    scenes = [drawn.scenes[place] for place in indexed]
    clips = encode_scenes(model, scenes, advance)
    video = VideoPrototypes(
        torch.from_numpy(clips.object).transpose(1, 2).contiguous(), torch.from_numpy(clips.event), None
    )

    def ask(sentences: Sequence[str]) -> _Asked:
        return _Asked.of(model, sentences, video)

    with_video = ask([drawn.queries[place].text for place in indexed])
    without = ask([drawn.queries[place].text for place in absent])
    recoloured = ask(_recoloured([drawn.queries[place] for place in indexed], scenes, random))
    sentences = unrelated_sentences(model, (1 + further_lots) * COUNT)
    lots = [sentences[first : first + COUNT] for first in range(0, len(sentences), COUNT)]
    unrelated, *others = (ask(lot) for lot in lots)

    sample = np.linspace(0, queries - 1, min(queries, PROFILE_CLIPS)).round().astype(int)
    every = np.arange(queries)
    backgrounds = [lot.false_alarms(sample) for lot in (unrelated, *others)]
    alarms = backgrounds[0]
    rates, other_rates = (asked.rates(alarms, sample) for asked in (with_video, without))
    auroc = area_under_curve(-rates, -other_rates)
    first = with_video.order.argmax(axis=1) == every
    on_all_clips = unrelated.false_alarms(every)
    sizes = [size for size in SMALLER_GALLERIES if size < queries]
    smaller = [_smaller(with_video, without, unrelated, random.permutation(queries)[:size]) for size in sizes]
    short = _about_one_event(scenes, random)
    other_short = [
        caption
        for caption in _about_one_event([drawn.scenes[place] for place in absent], random)
        if not any(holds(caption.claims, scene) for scene in scenes)
    ]
    short_with, short_without = (
        ask([caption.text for caption in captions]) for captions in (short, other_short)
    )
    short_rates, other_short_rates = (asked.rates(alarms, sample) for asked in (short_with, short_without))

    def count(asked: _Asked) -> FalseAlarmCount:
        return _count_alarms(asked, backgrounds, sample)

    return NoMatchReport(
        model=model.config.name,
        queries=queries,
        unrelated=len(unrelated.scores),
        auroc=auroc,
        auroc_interval=_interval_of_area(auroc, queries),
        auroc_score=area_under_curve(with_video.scores.max(axis=1), without.scores.max(axis=1)),
        auroc_z_score=area_under_curve(_z_scores(with_video.scores), _z_scores(without.scores)),
        auroc_joint=None
        if model.joint_scorer is None
        else area_under_curve(with_video.order.max(axis=1), without.order.max(axis=1)),
        auroc_all_clips=area_under_curve(
            *(-asked.rates(on_all_clips, every) for asked in (with_video, without))
        ),
        auroc_one_colour=area_under_curve(-rates, -recoloured.rates(alarms, sample)),
        auroc_found_first=area_under_curve(-rates[first], -other_rates),
        auroc_of_size={size: auroc for size, (auroc, _) in zip(sizes, smaller, strict=True)},
        recall_at_1=float(first.mean()),
        recall_of_size={size: recall for size, (_, recall) in zip(sizes, smaller, strict=True)},
        accepted=float((rates <= GOOD).mean()),
        false_alarms=count(without),
        auroc_one_event=area_under_curve(-short_rates, -other_short_rates),
        accepted_one_event=float((short_rates <= GOOD).mean()),
        false_alarms_one_event=count(short_without),
        machine=describe_machine(),
    )


def table(report: NoMatchReport) -> tuple[list[str], list[list[str]]]:
    """Columns and rows for people."""

    def versus(area: float) -> str:
        return f"{area:.3f} ({area / report.auroc:.2f} x)"

    level = f"at a rate up to {100 * GOOD:g} %, %"

    def alarms(count: FalseAlarmCount, queries: str) -> list[list[str]]:
        return [
            [f"{queries} {level}", f"{100 * count.rate:.1f}"],
            ["expected of these, %", "{:.1f} - {:.1f}".format(*(100 * bound for bound in count.expected))],
            [
                "the same with other unrelated sentences, %",
                ", ".join(f"{100 * rate:.1f}" for rate in count.with_other_sentences),
            ],
        ]

    return ["measure", ">value"], [
        ["AUROC, false alarm rate", f"{report.auroc:.3f}"],
        ["its 95% interval", "{:.3f} - {:.3f}".format(*report.auroc_interval)],
        ["AUROC, best score", versus(report.auroc_score)],
        ["AUROC, z-score", versus(report.auroc_z_score)],
        *([] if report.auroc_joint is None else [["AUROC, best logit", versus(report.auroc_joint)]]),
        ["AUROC, false alarm rate, profiles over all clips", versus(report.auroc_all_clips)],
        ["AUROC, absent queries that differ in one colour", versus(report.auroc_one_colour)],
        ["AUROC, queries that rank their video first", versus(report.auroc_found_first)],
        *(
            [f"AUROC (R@1, %) in {size} videos", f"{area:.3f} ({100 * report.recall_of_size[size]:.1f})"]
            for size, area in report.auroc_of_size.items()
        ),
        ["R@1, %", f"{100 * report.recall_at_1:.1f}"],
        [f"queries with a video {level}", f"{100 * report.accepted:.1f}"],
        *alarms(report.false_alarms, "queries without a video"),
        ["AUROC, sentences about one event", versus(report.auroc_one_event)],
        [f"those with a video {level}", f"{100 * report.accepted_one_event:.1f}"],
        *alarms(report.false_alarms_one_event, "those without a video"),
    ]


def _count_alarms(
    asked: _Asked, backgrounds: Sequence[FalseAlarms], sample: NDArray[np.intp]
) -> FalseAlarmCount:
    """Count the queries without a video that have a rate of at most `GOOD` against the first of several backgrounds."""
    alarms, *others = (int((asked.rates(background, sample) <= GOOD).sum()) for background in backgrounds)
    queries = len(asked.words)
    return FalseAlarmCount(
        level=GOOD,
        queries=queries,
        alarms=alarms,
        rate=alarms / queries,
        expected=expected_fraction(GOOD, queries, int(SIMILAR * len(backgrounds[0].best))),
        with_other_sentences=tuple(count / queries for count in others),
    )


def _about_one_event(scenes: Sequence[Scene], random: np.random.Generator) -> list[Caption]:
    """A sentence about one event of each scene."""
    return [describe_event(scene, int(random.integers(len(scene.events))), random) for scene in scenes]


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


def expected_fraction(level: float, count: int, compared: int) -> tuple[float, float]:
    """The middle 95 % of the fraction of `count` queries that reach a level which is kept on average.

    The level is that of the rank among `compared` unrelated sentences, so the true rate at it follows a beta
    distribution (order statistics of uniform values), and the number of queries a beta-binomial one.
    """
    from scipy.stats import betabinom

    rank = level * (compared + 1)
    low, high = betabinom.interval(0.95, count, rank, compared + 1 - rank)
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


@dataclass(frozen=True, kw_only=True, eq=False)
class _Asked:
    """Sentences asked of a gallery.

    Attributes:
        model: that answers.
        words: of each sentence `[Q]`.
        text: prototypes of the Q sentences.
        video: prototypes of the n videos.
        scores: similarity of sentences and videos `[Q, n]`.
        order: what the videos are ranked by `[Q, n]`: by the joint scorer of the model, or the scores.
    """

    model: ProST
    words: NDArray[np.int64]
    text: TextPrototypes
    video: VideoPrototypes
    scores: Scores
    order: Scores

    @classmethod
    def of(cls, model: ProST, sentences: Sequence[str], video: VideoPrototypes) -> _Asked:
        text = encode_text(model, sentences)
        with torch.inference_mode():
            parts = [
                match(text[first : first + SENTENCES_AT_ONCE], video, model.config.object_phrase_weight).total
                for first in range(0, len(text), SENTENCES_AT_ONCE)
            ]
        words = np.array([number_of_words(sentence) for sentence in sentences])
        return cls._ranked(model, words, text, video, torch.cat(parts).double().numpy())

    @classmethod
    def _ranked(
        cls,
        model: ProST,
        words: NDArray[np.int64],
        text: TextPrototypes,
        video: VideoPrototypes,
        scores: Scores,
    ) -> _Asked:
        order = scores if model.joint_scorer is None else joint_scores(model, text, video, scores)
        return cls(model=model, words=words, text=text, video=video, scores=scores, order=order)

    def among(self, videos: NDArray[np.intp]) -> _Asked:
        """The same sentences asked of some of the videos."""
        some = self.video[torch.from_numpy(videos)]
        return self._ranked(self.model, self.words, self.text, some, self.scores[:, videos])

    def only(self, sentences: NDArray[np.intp]) -> _Asked:
        """Some of the sentences."""
        return replace(
            self,
            words=self.words[sentences],
            text=self.text[torch.from_numpy(sentences)],
            scores=self.scores[sentences],
            order=self.order[sentences],
        )

    def false_alarms(self, sample: NDArray[np.intp]) -> FalseAlarms:
        """What other sentences are compared with, if these are unrelated; profiles are over a sample of the videos."""
        profiles = [_profile(row[sample]) for row in self.scores]
        known = [[each.mean, each.upper] for each in profiles if each is not None]
        return FalseAlarms(
            best=self.order.max(axis=1).astype(np.float64),
            words=self.words,
            profiles=np.array(known) if known else None,
        )

    def rates(self, alarms: FalseAlarms, sample: NDArray[np.intp]) -> NDArray[np.float64]:
        """False alarm rates of the best hits, with profiles over a sample of the videos."""
        return np.array(
            [
                alarms.confidence(float(best), int(words), _profile(row[sample])).false_alarm_rate
                for best, words, row in zip(self.order.max(axis=1), self.words, self.scores, strict=True)
            ]
        )


def _smaller(
    with_video: _Asked, without: _Asked, unrelated: _Asked, videos: NDArray[np.intp]
) -> tuple[float, float]:
    """AUROC and R@1 in a gallery of some of the videos."""
    sample = np.arange(min(len(videos), PROFILE_CLIPS))
    found = with_video.only(videos).among(videos)
    alarms = unrelated.among(videos).false_alarms(sample)
    auroc = area_under_curve(-found.rates(alarms, sample), -without.among(videos).rates(alarms, sample))
    return auroc, float((found.order.argmax(axis=1) == np.arange(len(videos))).mean())


def _z_scores(scores: Scores) -> NDArray[np.float64]:
    z: NDArray[np.float64] = (scores.max(axis=1) - scores.mean(axis=1)) / scores.std(axis=1)
    return z


def _profile(scores: Scores) -> Profile | None:
    return Profile.of(scores.astype(np.float32))
