"""The files of a report: JSON, CSV, Markdown, LaTeX, and the ranks, from which it can be read again."""

from __future__ import annotations

import json
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prost.data.writing import written_whole
from prost.errors import BadConfig, MissingPath
from prost.evaluation.bootstrap import PairedResult
from prost.evaluation.metrics import METRICS
from prost.evaluation.report import EvaluationReport
from prost.evaluation.report_tables import report_csv, report_tables
from prost.evaluation.reversal import ReversedAccuracy
from prost.evaluation.rows import SCORES, Row
from prost.evaluation.setting import Setting

if TYPE_CHECKING:
    from prost.evaluation.sets import EvaluationSet

JSON_FILE, RANKS_FILE = "report.json", "ranks.npz"


def write_report(report: EvaluationReport, folder: Path) -> None:
    """Write `report.json`, `report.csv`, `report.md`, `report.tex` and `ranks.npz`.

    `report.json` is written last, and completely or not at all: a folder that has it is complete.

    Raises:
        StorageError: the files cannot be written.
    """
    tables = report_tables(report)
    arrays: dict[str, Any] = {row.key: row.ranks for row in report.rows}
    arrays |= {f"videos/{row.direction}": row.videos for row in report.rows}
    texts = {
        "report.csv": report_csv(report),
        "report.md": "\n".join(table.markdown() for table in tables),
        "report.tex": "\n".join(table.latex() for table in tables),
    }
    for name, text in texts.items():
        with written_whole(folder / name) as partial:
            partial.write_text(text, encoding="utf-8")
    _write_arrays(folder / RANKS_FILE, arrays)
    values = json.dumps(report.to_dict(), indent=1) + "\n"
    with written_whole(folder / JSON_FILE) as partial:
        partial.write_text(values, encoding="utf-8")


def write_scores(report: EvaluationReport, data: EvaluationSet, path: Path) -> None:
    """Write the score matrices, and what they are about, as one NumPy file (`.npz`).

    The file holds a float32 matrix `[C, V]` for each score ("sum", "event_sentence" and "object_phrase", and "joint",
    where the model has these parts), "videos" `[V]` (ids), "captions" `[C]`, and "video_of_caption" `[C]`.

    Args:
        report: of `evaluate_set`.
        data: the set that it is about.
        path: the file.

    Raises:
        UsageError: a report that was read from files has no scores.
        StorageError: the file cannot be written.
    """
    arrays: dict[str, Any] = {
        name: matrix.astype(np.float32) for name, matrix in report.score_matrices().items()
    }
    arrays["videos"], arrays["captions"] = np.array(data.videos), np.array(data.captions)
    arrays["video_of_caption"] = data.video_of_caption
    _write_arrays(path, arrays)


def _write_arrays(path: Path, arrays: Mapping[str, Any]) -> None:
    with written_whole(path) as partial, partial.open("wb") as file:
        np.savez_compressed(file, allow_pickle=False, **arrays)


def _read_arrays(path: Path) -> dict[str, NDArray[Any]]:
    try:
        with np.load(path, allow_pickle=False) as file:
            return dict(file)
    except (EOFError, ValueError, zipfile.BadZipFile, zlib.error) as error:
        raise BadConfig(
            f"{path} is damaged ({error})", "a file of `prost eval --output`", "the evaluation again"
        ) from None


def read_report(folder: Path) -> EvaluationReport:
    """Read what `write_report` wrote.

    Raises:
        MissingPath: the folder holds no report.
        BadConfig: files that do not belong together, or that have another form.
    """
    try:
        values = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        arrays = _read_arrays(folder / RANKS_FILE)
        setting = Setting(**{**values["setting"], "notes": tuple(values["setting"]["notes"])})
        rows = tuple(_row(entry, arrays) for entry in values["rows"])
        return EvaluationReport(
            setting=setting,
            rows=rows,
            twin_accuracy={score: values[score]["twin_accuracy"] for score in SCORES if score in values},
            twins=values["gallery"]["twins"],
            order_blind_ceiling=values["gallery"]["order_blind_ceiling"],
            comparisons={name: PairedResult(**result) for name, result in values["comparisons"].items()},
            seconds=values["seconds"],
            reversed_accuracy={
                score: ReversedAccuracy.of_dict(values[score]["reversed"])
                for score in SCORES
                if values.get(score, {}).get("reversed")
            },
            noise=values["noise_test"],
        )
    except FileNotFoundError as error:
        raise MissingPath(f"{error.filename} does not exist", "a folder of `prost eval --output`") from None
    except (KeyError, TypeError, ValueError) as error:
        raise BadConfig(
            f"{folder} holds no report that can be read ({error})", "a folder of `prost eval --output`"
        ) from None


def _row(entry: Mapping[str, Any], arrays: Mapping[str, NDArray[Any]]) -> Row:
    key = f"{entry['score']}/{entry['direction']}/{entry['post_processing']}"
    return Row(
        score=entry["score"],
        direction=entry["direction"],
        post_processing=entry["post_processing"],
        parameters=entry["parameters"],
        values={column: entry[column] for column in METRICS if column in entry},
        intervals={column: (low, high) for column, (low, high) in entry["intervals"].items()},
        ranks=arrays[key],
        videos=arrays[f"videos/{entry['direction']}"],
        gallery=entry["gallery"],
        hubness=entry.get("hubness"),
    )
