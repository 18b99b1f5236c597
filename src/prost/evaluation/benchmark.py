"""A model on an evaluation set: pixels and captions -> scores -> a report. The same path for ProST and its rivals."""

from __future__ import annotations

import platform
import time
from collections import OrderedDict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.config import read_json
from prost.data.clip_sets import ClipSet
from prost.evaluation.metrics import Scores
from prost.evaluation.report import EvaluationReport, Setting
from prost.evaluation.rows import Bank, RankingPlan, left_out, make_rows
from prost.evaluation.sets import BankSet, EvaluationSet
from prost.model.encoding import join
from prost.model.matching import Similarity
from prost.model.retrieval_model import RetrievalModel

SENTENCES_AT_ONCE = 256
# Sets whose frame tokens are kept at most: with and without token shift.
KEPT_SETS = 2

Model = RetrievalModel[Any, Any]
TokenBlock = tuple[np.ndarray, Tensor]


class KeptTokens:
    """Frame tokens of evaluation sets, computed once for all models that share a vision tower.

    An ablation evaluates dozens of heads on one frozen tower; drawing and encoding the gallery anew for each would take
    longer than training them. What is kept is what the tower gives, in float32: no number changes.
    """

    def __init__(self) -> None:
        self._blocks: OrderedDict[str, list[TokenBlock]] = OrderedDict()

    def of(self, model: Model, data: EvaluationSet) -> list[TokenBlock]:
        """Frame tokens `[b, L, M, D]` of all videos, some at a time."""
        key = f"{model.vision_fingerprint}/{model.config.frames}/{data.digest}"
        if key not in self._blocks:
            while len(self._blocks) >= KEPT_SETS:
                self._blocks.popitem(last=False)
            self._blocks[key] = [
                (places, tokens.cpu()) for places, tokens in _frame_tokens(model, data.clips, {})
            ]
        self._blocks.move_to_end(key)
        return self._blocks[key]


def evaluate_set(
    model: Model,
    data: EvaluationSet,
    plan: RankingPlan | None = None,
    name: str | None = None,
    training_seed: int | None = None,
    kept: KeptTokens | None = None,
) -> EvaluationReport:
    """Encode, match, rank.

    Args:
        model: in eval mode; any that has the doors.
        data: videos and captions.
        plan: which rows to make; all when None.
        name: how the report calls the model; its configuration's name when None.
        training_seed: of the model, if known.
        kept: frame tokens that earlier models of the same vision tower left.

    Raises:
        VideoError: a file that cannot be shown.
        BadScores: the model gave numbers that are not finite.
    """
    plan = plan or RankingPlan()
    seconds: dict[str, float] = {}
    video = _encode_videos(model, data.clips, seconds, kept.of(model, data) if kept else None)
    with _timed(seconds, "encode_text"):
        text = encode_sentences(model, data.captions)
    return evaluate_features(
        model,
        text,
        video,
        data,
        plan,
        name,
        training_seed,
        bank=_encode_bank(model, data.bank) if plan.needs_bank else (None, None),
        seconds=seconds,
    )


def evaluate_features(
    model: Model,
    text: Any,
    video: Any,
    data: EvaluationSet,
    plan: RankingPlan | None = None,
    name: str | None = None,
    training_seed: int | None = None,
    bank: tuple[Any, Any] = (None, None),
    seconds: dict[str, float] | None = None,
) -> EvaluationReport:
    """Match and rank what a model made of captions and videos; the rest of `evaluate_set`.

    Args:
        model: whose matching is used.
        text: its record of the C captions.
        video: its record of the V videos.
        data: whose caption each is, and what to print.
        plan: see `evaluate_set`, and so for name and training_seed.
        name: see there.
        training_seed: see there.
        bank: the model's records of the bank's captions and videos; None where there are none.
        seconds: wall time so far.
    """
    plan = plan or RankingPlan()
    seconds = {} if seconds is None else seconds
    with torch.inference_mode():
        with _timed(seconds, "match"):
            scores = score_matrices(model.match(text, video))
        bank_text, bank_video = bank
        bank_scores = Bank(
            {} if bank_text is None else score_matrices(model.match(bank_text, video)),
            {}
            if bank_video is None
            else {part: matrix.T for part, matrix in score_matrices(model.match(text, bank_video)).items()},
        )
    # Scores of `match` are cosines; the model's own temperature makes them logits.
    temperature = 1 / model.logit_scale.item()
    rows = make_rows(scores, data.video_of_caption, temperature, bank_scores, plan)
    config = model.config
    notes = [*data.notes, *_departures(model, data)]
    notes += left_out(len(data.captions), bank_scores, plan)
    setting = Setting(
        name or config.name,
        getattr(config, "architecture", "unknown"),
        model.fingerprint,
        data.name,
        data.split,
        data.digest,
        len(data.videos),
        data.published_videos,
        len(data.captions),
        config.frames,
        config.image_size,
        config.max_words,
        data.sampling,
        getattr(config, "object_phrase_weight", None),
        temperature,
        0 if bank_text is None else len(bank_text),
        0 if bank_video is None else len(bank_video),
        plan.samples,
        plan.seed,
        training_seed,
        tuple(notes),
        {"prost": version("prost-video"), "torch": torch.__version__, "python": platform.python_version()},
    )
    return EvaluationReport(
        setting,
        tuple(rows),
        {part: twin_accuracy(matrix, data.twin) for part, matrix in scores.items()},
        sum(other is not None for other in data.twin),
        data.order_blind_ceiling,
        seconds,
    )


def training_seed(model: str) -> int | None:
    """The seed of a model's training, from the `training.json` in its folder; None where none is told."""
    facts = Path(model) / "training.json"
    if not facts.is_file():
        return None
    recipe = read_json(facts).get("recipe")
    seed = recipe.get("seed") if isinstance(recipe, dict) else None
    return seed if isinstance(seed, int) else None


def score_matrices(similarity: Similarity) -> dict[str, Scores]:
    """The matrices of a similarity, by the names of reports; a model without parts has the sum alone."""
    parts = {
        "sum": similarity.total,
        "event_sentence": similarity.event_sentence,
        "object_phrase": similarity.object_phrase,
    }
    return {name: part.float().cpu().numpy() for name, part in parts.items() if part is not None}


def twin_accuracy(scores: Scores, twin: Sequence[int | None]) -> float | None:
    """Percent of queries that prefer their video to its order-swapped twin.

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


@torch.inference_mode()
def encode_sentences(model: Model, sentences: Sequence[str]) -> Any:
    """Encode any number of sentences, a few hundred at a time."""
    starts = range(0, len(sentences), SENTENCES_AT_ONCE)
    return join([model.encode_text(sentences[start : start + SENTENCES_AT_ONCE]) for start in starts])


@torch.inference_mode()
def _encode_videos(
    model: Model, clips: ClipSet, seconds: dict[str, float], tokens: list[TokenBlock] | None = None
) -> Any:
    """The record of all clips, in the order of the set."""
    places, records = [], []
    for where, block in tokens if tokens is not None else _frame_tokens(model, clips, seconds):
        with _timed(seconds, "encode_video"):
            records.append(model.video_head(block.to(model.device)).mapped(Tensor.cpu))
        places.append(where)
    order = torch.from_numpy(np.argsort(np.concatenate(places)))
    return join(records)[order]


def _encode_bank(model: Model, bank: BankSet) -> tuple[Any, Any]:
    text = encode_sentences(model, bank.captions) if bank.captions else None
    return text, _encode_videos(model, bank.clips, {}) if len(bank.clips) else None


@torch.inference_mode()
def _frame_tokens(model: Model, clips: ClipSet, seconds: dict[str, float]) -> Iterator[TokenBlock]:
    """Read videos and pass them through the vision tower, some at a time."""
    blocks = clips.blocks(frames=model.config.frames, size=model.config.image_size)
    while True:
        with _timed(seconds, "read"):
            block = next(blocks, None)
        if block is None:
            return
        places, pixels = block
        with _timed(seconds, "encode_video"):
            tokens = model.frame_tokens(model.normalise_pixels(pixels).to(model.device))
        yield places, tokens


@contextmanager
def _timed(seconds: dict[str, float], name: str) -> Iterator[None]:
    """Add what some work takes."""
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    started = time.perf_counter()
    yield
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    seconds[name] = seconds.get(name, 0.0) + time.perf_counter() - started


def _departures(model: Model, data: EvaluationSet) -> list[str]:
    """Where a model's sizes are not those of the paper's setting for a benchmark."""
    notes = []
    for what, own, paper in (
        ("frames", model.config.frames, data.paper_frames),
        ("words", model.config.max_words, data.paper_max_words),
    ):
        if paper is not None and own != paper:
            notes.append(f"the paper's setting has {paper} {what}, this model {own}")
    return notes
