"""Scores -> ranks -> a table: a model on a Toybox gallery, in memory or as real files."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.toybox import CAPTIONS_FILE, Gallery, gallery, render
from prost.errors import BadConfig, MissingPath
from prost.evaluation.bootstrap import PairedResult, confidence_interval, paired_bootstrap
from prost.evaluation.metrics import RetrievalMetrics, rank_metrics, ranks
from prost.model.doors import join
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.video.decode import decode_frames
from prost.video.probe import probe
from prost.video.sampling import sample_times

VIDEOS_AT_ONCE = 32


@dataclass(frozen=True)
class Part:
    """One score's results.

    Attributes:
        metrics: text to video.
        interval: 95% bootstrap interval of R@1, in percent.
        ranks: of the true video of each query, `[Q]`.
        twin_accuracy: percent of queries that score their video above its order-swapped twin (a tie is half); None
            where no video has a twin.
    """

    metrics: RetrievalMetrics
    interval: tuple[float, float]
    ranks: np.ndarray
    twin_accuracy: float | None


@dataclass(frozen=True)
class ToyboxReport:
    """A model's results on a gallery.

    Attributes:
        gallery: its name, or the folder.
        videos: its size; one query each.
        twins: how many of the videos have an order-swapped twin in the gallery.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order; None for a folder.
        parts: "sum", "event_sentence", "object_phrase".
        comparisons: paired bootstrap of R@1, the sum against each part.
    """

    gallery: str
    videos: int
    twins: int
    order_blind_ceiling: float | None
    parts: dict[str, Part]
    comparisons: dict[str, PairedResult]

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the columns of each score, and what is needed to read them."""
        rows = {
            name: {
                **part.metrics.to_dict(),
                "R@1_interval": [round(bound, 2) for bound in part.interval],
                "twin_accuracy": part.twin_accuracy,
            }
            for name, part in self.parts.items()
        }
        return {
            **rows,
            "gallery": {
                "name": self.gallery,
                "videos": self.videos,
                "twins": self.twins,
                "order_blind_ceiling": self.order_blind_ceiling,
            },
            "comparisons": {
                name: {"difference": result.difference, "low": result.low, "high": result.high}
                for name, result in self.comparisons.items()
            },
        }


def evaluate_toybox(model: ProST, name_or_folder: str) -> ToyboxReport:
    """Evaluate on a gallery by name, rendered in memory, or on a folder that `prost toybox` wrote.

    Args:
        model: in eval mode.
        name_or_folder: `toybox-1k` and the like, or a folder with `captions.jsonl`.

    Raises:
        MissingPath: neither a gallery nor a folder.
        VideoError: a file of the folder cannot be shown; nothing is left out silently.
    """
    if Path(name_or_folder).is_dir():
        return evaluate_folder(model, Path(name_or_folder))
    if name_or_folder.startswith("toybox-"):
        return evaluate(model, gallery(name_or_folder))
    raise MissingPath(
        f"{name_or_folder} is neither a gallery nor a folder",
        "toybox-1k, toybox-200, or a folder of `prost toybox`",
    )


def evaluate(model: ProST, scenes: Gallery) -> ToyboxReport:
    """Evaluate on a gallery, rendered in memory at the model's own size."""
    video = _encode(
        model,
        (
            render(scene, sample_times(0.0, scene.duration, model.config.frames), model.config.image_size)
            for scene in scenes.scenes
        ),
    )
    text = encode_sentences(model, [query.text for query in scenes.queries])
    return report(model, scenes.name, text, video, scenes.twin, scenes.order_blind_ceiling())


def evaluate_folder(model: ProST, folder: Path) -> ToyboxReport:
    """Evaluate on real files: the first caption of each video is its query.

    Raises:
        MissingPath: no `captions.jsonl`, or a video that it names is not there.
        BadConfig: a line that cannot be read.
    """
    rows = read_captions(folder)
    decoded = []
    for row in rows:
        path = folder / row["video"]
        times = sample_times(0.0, probe(path).duration, model.config.frames)
        decoded.append(decode_frames(path, times, model.config.image_size).pixels)
    names = [row["video"] for row in rows]
    twin = [names.index(row["twin"]) if row.get("twin") in names else None for row in rows]
    text = encode_sentences(model, [row["captions"][0] for row in rows])
    return report(model, str(folder), text, _encode(model, decoded), twin, None)


def read_captions(folder: Path) -> list[dict[str, Any]]:
    """Read `captions.jsonl`, one video a line (DESIGN 5).

    Raises:
        MissingPath: there is none, or a video that it names is not there.
        BadConfig: a line that cannot be read.
    """
    path = folder / CAPTIONS_FILE
    if not path.is_file():
        raise MissingPath(f"{folder} holds no {CAPTIONS_FILE}", "a folder that `prost toybox` wrote")
    rows = []
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            row = json.loads(line)
            row["video"], row["captions"][0]
        except (json.JSONDecodeError, KeyError, IndexError, TypeError):
            raise BadConfig(
                f"{path}, line {number} is no captioned video", '{"video": ..., "captions": [...]}'
            ) from None
        if not (folder / row["video"]).is_file():
            raise MissingPath(
                f"{folder / row['video']}, named in {path}, is missing", suggestion="write the folder anew"
            )
        rows.append(row)
    return rows


def report(
    model: ProST,
    name: str,
    text: TextPrototypes,
    video: VideoPrototypes,
    twin: Sequence[int | None],
    order_blind_ceiling: float | None,
) -> ToyboxReport:
    """Score, rank and compare; query i is true of video i.

    Args:
        model: whose matching is used.
        name: of the gallery.
        text: Q queries.
        video: Q videos.
        twin: for each video its order-swapped twin, or None.
        order_blind_ceiling: of the gallery, in percent.
    """
    with torch.inference_mode():
        similarity = model.match(text, video)
    scores = {
        "sum": _array(similarity.total),
        "event_sentence": _array(similarity.event_sentence),
        "object_phrase": _array(similarity.object_phrase),
    }
    truth = np.arange(len(video))
    parts = {}
    for part, matrix in scores.items():
        rank = ranks(matrix, truth)
        parts[part] = Part(
            rank_metrics(matrix), confidence_interval(rank, "R@1"), rank, twin_accuracy(matrix, twin)
        )
    return ToyboxReport(
        name,
        len(video),
        sum(other is not None for other in twin),
        order_blind_ceiling,
        parts,
        {
            f"sum - {part}": paired_bootstrap(parts["sum"].ranks, parts[part].ranks, "R@1")
            for part in ("event_sentence", "object_phrase")
        },
    )


def twin_accuracy(scores: np.ndarray, twin: Sequence[int | None]) -> float | None:
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
def encode_sentences(model: ProST, sentences: Sequence[str]) -> TextPrototypes:
    """Encode any number of sentences, a few hundred at a time."""
    blocks = [model.encode_text(sentences[start : start + 256]) for start in range(0, len(sentences), 256)]
    return join(blocks)


@torch.inference_mode()
def _encode(model: ProST, videos: Iterable[np.ndarray]) -> VideoPrototypes:
    """Encode decoded videos (uint8 `[L, R, R, 3]` each), some at a time."""
    blocks: list[VideoPrototypes] = []
    waiting: list[np.ndarray] = []

    def flush() -> None:
        if waiting:
            blocks.append(model.video_prototypes(model.normalise_pixels(np.stack(waiting)).to(model.device)))
            waiting.clear()

    for pixels in videos:
        waiting.append(pixels)
        if len(waiting) == VIDEOS_AT_ONCE:
            flush()
    flush()
    return join(blocks)


def _array(scores: Tensor | None) -> np.ndarray:
    assert scores is not None
    return scores.cpu().numpy()
