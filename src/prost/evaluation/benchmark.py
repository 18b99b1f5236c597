"""From a model and an evaluation set to a report: encode, match, rank; the same path for ProST and its rivals."""

from __future__ import annotations

import platform
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from importlib.metadata import version
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch

from prost.config import read_json
from prost.data.clip_sets import BLOCK, Block, ClipSet
from prost.data.frame_tokens import FrameTokenCache
from prost.errors import UsageError
from prost.evaluation.bootstrap import PairedResult, paired_bootstrap
from prost.evaluation.joint_scores import joint_scores
from prost.evaluation.machine import machine_line
from prost.evaluation.metrics import Scores, text_to_video_ranks
from prost.evaluation.post_processing import inverted_softmax
from prost.evaluation.report import EvaluationReport
from prost.evaluation.reversal import reversed_accuracy
from prost.evaluation.rows import JOINT, PLAIN, Bank, RankingPlan, Row, left_out, make_rows
from prost.evaluation.sets import BankSet, EvaluationSet
from prost.evaluation.setting import Setting
from prost.model.encoding import Precision, VideoEncoder, encode_text, join, takes_bf16
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel

Model = RetrievalModel[Any, Any]

TEMPERATURES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0)
"""Candidates for the temperature of the inverted softmax, on the scale of cosines."""


def evaluate_set(
    model: Model,
    data: EvaluationSet,
    plan: RankingPlan | None = None,
    *,
    name: str | None = None,
    training_seed: int | None = None,
    precision: Precision = "fp32",
    cache: FrameTokenCache | None = None,
) -> EvaluationReport:
    """Encode, match, rank; on the model's device.

    Args:
        model: any retrieval model, in eval mode.
        data: videos and captions.
        plan: which rows to make; all when None.
        name: the name of the model in the report; the name in its configuration when None.
        training_seed: the seed of the model's training, if known.
        precision: of the vision tower.
        cache: frame tokens that models of the same vision tower share; its type should be float32, so that no score
            changes.

    Raises:
        VideoError: a file cannot be decoded.
        BadScores: the model gave numbers that are not finite.
    """
    plan = plan or RankingPlan()
    seconds: dict[str, float] = {}
    video = encode_clips(model, data.clips, precision=precision, cache=cache, seconds=seconds)
    with _timed(seconds, "encode_text"):
        text = encode_text(model, data.captions)
    bank_text = bank_video = None
    if plan.needs_bank:
        bank_text, bank_video = _encode_bank(model, data.bank, precision)
    report = evaluate_features(
        model,
        text,
        video,
        data,
        plan,
        name=name,
        training_seed=training_seed,
        precision=precision,
        bank_text=bank_text,
        bank_video=bank_video,
        seconds=seconds,
    )
    if not len(data.reversed.clips):
        return report
    with _timed(seconds, "reversed"):
        backwards = encode_clips(model, data.reversed.clips, precision=precision)
        places = list(data.reversed.captions)
        backwards_scores = match_scores(model, text[places], backwards)
    videos = data.video_of_caption[places]
    return replace(
        report,
        reversed_accuracy={
            part: reversed_accuracy(
                matrix[places, videos],
                backwards_scores[part].diagonal(),
                videos=videos if data.source_of_video is None else data.source_of_video[videos],
                samples=plan.samples,
                seed=plan.seed,
            )
            for part, matrix in report.score_matrices().items()
            if part in backwards_scores
        },
    )


def evaluate_features(
    model: Model,
    text: Any,
    video: Any,
    data: EvaluationSet,
    plan: RankingPlan | None = None,
    *,
    name: str | None = None,
    training_seed: int | None = None,
    precision: Precision = "fp32",
    bank_text: Any = None,
    bank_video: Any = None,
    seconds: dict[str, float] | None = None,
) -> EvaluationReport:
    """Match and rank encoded captions and videos: the rest of `evaluate_set`.

    Args:
        model: its matching is used.
        text: its record of the C captions.
        video: its record of the V videos.
        data: says which video each caption belongs to, and what to print.
        plan: see `evaluate_set`.
        name: see `evaluate_set`.
        training_seed: see `evaluate_set`.
        precision: in which the vision tower encoded the videos, for the report.
        bank_text: the model's record of the bank's captions; None where there are none.
        bank_video: the model's record of the bank's videos; None where there are none.
        seconds: wall time so far.
    """
    plan = plan or RankingPlan()
    seconds = {} if seconds is None else seconds
    with _timed(seconds, "match"):
        scores = match_scores(model, text, video)
    scorer = getattr(model, "joint_scorer", None)
    if scorer is not None:
        with _timed(seconds, "joint"):
            scores[JOINT] = joint_scores(cast(ProST, model), text, video, scores["sum"])
    bank = Bank(
        captions={} if bank_text is None else match_scores(model, bank_text, video),
        videos={}
        if bank_video is None
        else {part: matrix.T for part, matrix in match_scores(model, text, bank_video).items()},
    )
    # Scores are cosines; divided by the model's own temperature they are the logits of its training.
    temperature = plan.temperature or 1 / model.logit_scale.item()
    rows = make_rows(scores, data.video_of_caption, temperature, bank, plan, data.source_of_video)
    config = model.config
    setting = Setting(
        model=name or config.name,
        architecture=getattr(config, "architecture", "unknown"),
        fingerprint=model.fingerprint,
        benchmark=data.name,
        split=data.split,
        queries=data.digest,
        videos=len(data.videos),
        published_videos=data.published_videos,
        captions=len(data.captions),
        frames=config.frames,
        image_size=config.image_size,
        max_words=config.max_words,
        sampling=data.sampling,
        object_phrase_weight=getattr(config, "object_phrase_weight", None),
        temperature=temperature,
        temperature_source=plan.temperature_source,
        bank_captions=0 if bank_text is None else len(bank_text),
        bank_videos=0 if bank_video is None else len(bank_video),
        bootstrap_samples=plan.samples,
        bootstrap_seed=plan.seed,
        machine=machine_line(model.device),
        precision="bf16" if takes_bf16(precision, model.device) else "fp32",
        training_seed=training_seed,
        joint_scorer=None if scorer is None else scorer.fingerprint,
        notes=(*data.notes, *_departures(model, data), *left_out(len(data.captions), bank, plan)),
        versions={
            "prost": version("prost-video"),
            "torch": torch.__version__,
            "python": platform.python_version(),
        },
    )
    return EvaluationReport(
        setting=setting,
        rows=tuple(rows),
        twin_accuracy={part: twin_accuracy(matrix, data.twin) for part, matrix in scores.items()},
        twins=sum(other is not None for other in data.twin),
        order_blind_ceiling=data.order_blind_ceiling,
        comparisons=_comparisons(rows),
        seconds=seconds,
        scores=scores,
    )


def tuned_plan(
    model: Model,
    validation: EvaluationSet,
    plan: RankingPlan | None = None,
    *,
    precision: Precision = "fp32",
) -> RankingPlan:
    """Choose the temperature of the inverted softmax by R@1 of the sum, text to video, on a validation set.

    Args:
        model: in eval mode.
        validation: not the test split, on which no parameter may be tuned.
        plan: the plan to complete.
        precision: of the vision tower.

    Raises:
        UsageError: a test split.
        VideoError: a file cannot be decoded.
    """
    if validation.split == "test":
        raise UsageError("a temperature tuned on the test split", "the val split, or a part of train")
    video = encode_clips(model, validation.clips, precision=precision)
    scores = match_scores(model, encode_text(model, validation.captions), video)["sum"]

    def quality(temperature: float) -> tuple[float, float]:
        processed = inverted_softmax(scores, temperature).scores
        ranks = text_to_video_ranks(processed, validation.video_of_caption)
        return float(np.mean(ranks <= 1)), -float(ranks.mean())

    return replace(
        plan or RankingPlan(),
        temperature=max(reversed(TEMPERATURES), key=quality),  # among equals the one that changes least
        temperature_source=f"tuned on {validation.name}, {validation.split} split, of "
        f"{len(validation.videos):,} videos",
    )


def training_seed(model: str) -> int | None:
    """The seed of a model's training, from the `training.json` in its folder; None where it is unknown."""
    facts = Path(model) / "training.json"
    if not facts.is_file():
        return None
    recipe = read_json(facts).get("recipe")
    seed = recipe.get("seed") if isinstance(recipe, dict) else None
    return seed if isinstance(seed, int) else None


@torch.inference_mode()
def match_scores(model: Model, text: Any, video: Any) -> dict[str, Scores]:
    """Score every text against every video on the model's device.

    Returns:
        `[C, V]` for "sum", and for "event_sentence" and "object_phrase" where the model has these parts.
    """
    text, video = (record.mapped(lambda tensor: tensor.to(model.device)) for record in (text, video))
    similarity = model.match(text, video)
    parts = {
        "sum": similarity.total,
        "event_sentence": similarity.event_sentence,
        "object_phrase": similarity.object_phrase,
    }
    return {name: part.float().cpu().numpy() for name, part in parts.items() if part is not None}


def twin_accuracy(scores: Scores, twin: Sequence[int | None]) -> float | None:
    """Percent of queries that score their video above its order-swapped twin; a tie counts half.

    Args:
        scores: `[Q, Q]`.
        twin: for each video its twin, or None.

    >>> twin_accuracy(np.array([[0.9, 0.1], [0.8, 0.2]]), [1, 0])
    50.0
    """
    pairs = [(query, other) for query, other in enumerate(twin) if other is not None]
    if not pairs:
        return None
    margins = np.array([scores[query, query] - scores[query, other] for query, other in pairs])
    return float(100 * ((margins > 0).mean() + 0.5 * (margins == 0).mean()))


def encode_clips(
    model: Model,
    clips: ClipSet,
    *,
    precision: Precision = "fp32",
    cache: FrameTokenCache | None = None,
    seconds: dict[str, float] | None = None,
) -> Any:
    """The model's record of all clips of a set, in the order of the set; float32 on the CPU.

    Args:
        model: in eval mode.
        clips: the set; not empty.
        precision: of the vision tower.
        cache: where frame tokens are kept.
        seconds: the time spent waiting for pixels is added to "read", and the rest to "encode_video".

    Raises:
        VideoError: a file cannot be decoded.
    """
    seconds = {} if seconds is None else seconds
    waited: dict[str, float] = {}
    with _timed(seconds, "encode_video"):
        if cache is not None:
            record = _from_tokens(model, cache.of(model, clips, precision).tokens)
        else:
            places: list[np.ndarray] = []
            blocks = _noted(
                clips.blocks(frames=model.config.frames, size=model.config.image_size), places, waited
            )
            record = join(list(VideoEncoder(model, precision=precision).stream(blocks)))
            record = record[torch.from_numpy(np.argsort(np.concatenate(places)))]
    read = waited.get("read", 0.0)
    seconds["read"] = seconds.get("read", 0.0) + read
    seconds["encode_video"] -= read
    return record


def _noted(
    blocks: Iterator[Block], places: list[np.ndarray], waited: dict[str, float]
) -> Iterator[np.ndarray]:
    """The pixels of blocks; their places, and the time until each block came, are noted."""
    while True:
        started = time.perf_counter()
        block = next(blocks, None)
        waited["read"] = waited.get("read", 0.0) + time.perf_counter() - started
        if block is None:
            return
        places.append(block[0])
        yield block[1]


@torch.inference_mode()
def _from_tokens(model: Model, tokens: np.ndarray) -> Any:
    """The record of clips whose frame tokens are known."""
    records = []
    for first in range(0, len(tokens), BLOCK):
        block = torch.from_numpy(np.array(tokens[first : first + BLOCK])).to(model.device).float()
        records.append(model.video_head(block).mapped(lambda tensor: tensor.float().cpu()))
    return join(records)


def _encode_bank(model: Model, bank: BankSet, precision: Precision) -> tuple[Any, Any]:
    text = encode_text(model, bank.captions) if bank.captions else None
    return text, encode_clips(model, bank.clips, precision=precision) if len(bank.clips) else None


def _comparisons(rows: Sequence[Row]) -> dict[str, PairedResult]:
    """Paired bootstrap of R@1, text to video: the sum against each part, and the joint scorer against the sum."""
    plain = {
        row.score: row for row in rows if (row.direction, row.post_processing) == ("text_to_video", PLAIN)
    }
    whole = plain.get("sum")
    if whole is None:
        return {}
    pairs = [(JOINT, "sum") if score == JOINT else ("sum", score) for score in plain if score != "sum"]
    return {
        f"{one} - {other}": paired_bootstrap(plain[one].ranks, plain[other].ranks, "R@1", videos=whole.videos)
        for one, other in pairs
    }


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add the duration of some work."""
    started = time.perf_counter()
    yield
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def _departures(model: Model, data: EvaluationSet) -> list[str]:
    """Where the model's sizes differ from the paper's setting for the benchmark."""
    notes = []
    for what, own, paper in (
        ("frames", model.config.frames, data.paper_frames),
        ("words", model.config.max_words, data.paper_max_words),
    ):
        if paper is not None and own != paper:
            notes.append(f"the paper's setting has {paper} {what}, this model {own}")
    return notes
