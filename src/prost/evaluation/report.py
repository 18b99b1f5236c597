"""A report: rows, and all that is needed to read them; as JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import json
import os
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from prost.errors import BadConfig, MissingPath, StorageError, UsageError
from prost.evaluation.bootstrap import PairedResult, paired_bootstrap
from prost.evaluation.metrics import METRICS, Ranks, RetrievalMetrics
from prost.evaluation.published import Published, published
from prost.evaluation.rows import DIRECTIONS, PLAIN, SCORES, Row
from prost.evaluation.tables import PaperTable, as_csv, number, with_interval

JSON_FILE, RANKS_FILE = "report.json", "ranks.npz"
SCORE_TITLES = {"sum": "sum", "event_sentence": "event-sentence", "object_phrase": "object-phrase"}
DIRECTION_TITLES = {
    "text_to_video": "text to video",
    "video_to_text_clip4clip": "video to text (CLIP4Clip's: caption sets, by their best)",
    "video_to_text_strict": "video to text (strict: single captions)",
}
EITHER_VIDEO_TO_TEXT = "video to text (one caption a video: both kinds are the same)"
METHOD_TITLES = {
    PLAIN: "",
    "inverted_softmax": "inverted softmax",
    "qb_norm": "QB-Norm",
    "hungarian": "Hungarian (TVH)",
    "sinkhorn": "Sinkhorn",
    "nnn": "NNN",
}


@dataclass(frozen=True)
class Setting:
    """What numbers were made with; it is printed with every one of them.

    Attributes:
        model: as it was given.
        architecture: "prost", "clip4clip", "ts2net".
        fingerprint: of configuration and weights.
        benchmark: name of the benchmark or gallery.
        split: which part of it.
        queries: digest of videos and captions; reports that share it can be compared query by query.
        videos: G, the gallery's size.
        published_videos: how many there should be; None where nobody published a number.
        captions: C.
        frames: L.
        image_size: R.
        max_words: of a text.
        sampling: which frames of a video are seen, in words.
        object_phrase_weight: in the sum; None for a model without parts.
        temperature: of the inverted softmax.
        bank_captions: how many training captions the bank holds.
        bank_videos: how many training videos.
        bootstrap_samples: how many times the videos are drawn.
        bootstrap_seed: of the drawing.
        training_seed: of the model, where its folder says so.
        notes: anything else that a reader has to know.
        versions: of what computed them.
    """

    model: str
    architecture: str
    fingerprint: str
    benchmark: str
    split: str
    queries: str
    videos: int
    published_videos: int | None
    captions: int
    frames: int
    image_size: int
    max_words: int
    sampling: str
    object_phrase_weight: float | None
    temperature: float
    bank_captions: int
    bank_videos: int
    bootstrap_samples: int
    bootstrap_seed: int
    training_seed: int | None = None
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        """The setting in words, for below a table."""
        gallery = f"{self.videos:,} videos"
        if self.published_videos is not None and self.published_videos != self.videos:
            gallery += f" of {self.published_videos:,}"
        seed = "unknown" if self.training_seed is None else str(self.training_seed)
        who = [f"{self.architecture}, {self.fingerprint}", f"training seed {seed}"]
        if self.object_phrase_weight is not None:
            who.append(f"sum: event-sentence + {self.object_phrase_weight:g} x object-phrase")
        bank = f"bank of {self.bank_captions:,} training captions and {self.bank_videos:,} training videos"
        return (
            f"{self.model} ({'; '.join(who)})",
            f"{self.benchmark}, {self.split} split: gallery of {gallery}, {self.captions:,} captions",
            f"{self.frames} frames of {self.image_size} pixels, {self.max_words} words; sampling: {self.sampling}",
            f"intervals: 95%, bootstrap of {self.bootstrap_samples:,} draws of the videos, seed {self.bootstrap_seed}; "
            "ties: mean rank",
            "post-processing: no parameter tuned on this split; scores are cosines, the temperature of the inverted "
            f"softmax is the model's own ({self.temperature:.4g}); {bank}",
            *self.notes,
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        )


@dataclass(frozen=True, eq=False)
class ReportSection:
    """One score's plain row, text to video.

    Attributes:
        metrics: the columns.
        interval: 95% bootstrap interval of R@1, in percent.
        ranks: of the true video of each query, `[Q]`.
        twin_accuracy: percent of queries that score their video above its order-swapped twin (a tie is half); None
            where no video has a twin.
    """

    metrics: RetrievalMetrics
    interval: tuple[float, float]
    ranks: Ranks
    twin_accuracy: float | None


@dataclass(frozen=True, eq=False)
class EvaluationReport:
    """A model's results on an evaluation set.

    Attributes:
        setting: what they were made with.
        rows: every score, direction and post-processing.
        twin_accuracy: for each score; see `ReportSection`.
        twins: how many of the videos have an order-swapped twin in the gallery.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order; None where there are no twins.
        seconds: wall time of reading, encoding and matching.
        noise: result of the noise test, where it was asked for.
    """

    setting: Setting
    rows: tuple[Row, ...]
    twin_accuracy: Mapping[str, float | None]
    twins: int
    order_blind_ceiling: float | None
    seconds: Mapping[str, float]
    noise: Mapping[str, Any] | None = None

    def row(self, score: str = "sum", direction: str = "text_to_video", post_processing: str = PLAIN) -> Row:
        """One row.

        Raises:
            UsageError: the report has no such row; those it has are named.
        """
        key = f"{score}/{direction}/{post_processing}"
        for row in self.rows:
            if row.key == key:
                return row
        raise UsageError(f"no row {key} in this report", ", ".join(row.key for row in self.rows))

    @property
    def parts(self) -> dict[str, ReportSection]:
        """The plain rows of text to video, by score."""
        return {
            row.score: ReportSection(
                RetrievalMetrics.from_ranks(row.ranks, row.gallery),
                row.intervals["R@1"],
                row.ranks,
                self.twin_accuracy.get(row.score),
            )
            for row in self.rows
            if row.direction == "text_to_video" and row.post_processing == PLAIN
        }

    def comparisons(self) -> dict[str, PairedResult]:
        """Paired bootstrap of R@1, text to video: the sum against each part."""
        parts = self.parts
        whole = self.row()
        return {
            f"sum - {score}": paired_bootstrap(whole.ranks, part.ranks, "R@1", videos=whole.videos)
            for score, part in parts.items()
            if score != "sum"
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the columns of each score, and what is needed to read them."""
        parts = {
            score: {
                **part.metrics.to_dict(),
                "R@1_interval": [round(bound, 2) for bound in part.interval],
                "twin_accuracy": part.twin_accuracy,
            }
            for score, part in self.parts.items()
        }
        return {
            **parts,
            "gallery": {
                "name": self.setting.benchmark,
                "videos": self.setting.videos,
                "twins": self.twins,
                "order_blind_ceiling": self.order_blind_ceiling,
            },
            "comparisons": {
                name: {"difference": result.difference, "low": result.low, "high": result.high}
                for name, result in self.comparisons().items()
            },
            "setting": asdict(self.setting),
            "rows": [row.to_dict() for row in self.rows],
            "published": [row.to_dict() for row in published(benchmark=self.setting.benchmark)],
            "seconds": {name: round(value, 3) for name, value in self.seconds.items()},
            "noise_test": self.noise,
        }

    def tables(self, with_intervals: Collection[str] = tuple(METRICS)) -> list[PaperTable]:
        """One table a direction, then the published figures.

        Args:
            with_intervals: columns that show their interval.
        """
        directions = [name for name in DIRECTIONS if any(row.direction == name for row in self.rows)]
        alike = self.setting.captions == self.setting.videos
        if alike and "video_to_text_strict" in directions:
            directions.remove("video_to_text_strict")
        tables = []
        for direction in directions:
            title = DIRECTION_TITLES[direction]
            if alike and direction != "text_to_video":
                title = EITHER_VIDEO_TO_TEXT
            tables.append(self._table(direction, title, with_intervals))
        if figures := published(benchmark=self.setting.benchmark):
            tables.append(_published_table(figures))
        return tables

    def _table(self, direction: str, title: str, with_intervals: Collection[str]) -> PaperTable:
        shows_twins = direction == "text_to_video" and self.twins > 0
        lines = []
        for row in self.rows:
            if row.direction != direction:
                continue
            cells = [
                with_interval(row.values, row.intervals if column in with_intervals else {}, column)
                for column in METRICS
            ]
            if shows_twins:
                plain = row.post_processing == PLAIN
                cells.append(number(self.twin_accuracy.get(row.score)) if plain else "")
            lines.append((SCORE_TITLES[row.score], method_title(row), *cells))
        notes = list(self.setting.lines())
        if self.noise is not None:
            told = "passed" if self.noise["passed"] else "FAILED"
            notes.append(
                f"noise test: {told} (random features, {self.noise['seeds']} seeds of {self.noise['videos']} videos: "
                "every row inside the binomial interval of chance)"
            )
        if shows_twins:
            ceiling = number(self.order_blind_ceiling) or "unknown"
            notes.append(
                "twins: percent of queries that prefer their video to its order-swapped twin (chance 50); "
                f"{self.twins:,} videos have one; R@1 of a perfect model that is blind to order: {ceiling}"
            )
        return PaperTable(
            f"{self.setting.model} on {self.setting.benchmark} ({self.setting.split}): {title}",
            ("score", "post-processing", *METRICS, *(["twins"] if shows_twins else [])),
            tuple(lines),
            words=2,
            notes=tuple(notes),
        )

    def csv(self) -> str:
        """All rows with all columns, bounds of the intervals and settings, one line each."""
        first = [
            "model",
            "benchmark",
            "split",
            "score",
            "direction",
            "post_processing",
            "transductive",
            "parameters",
        ]
        bounds = [f"{column} {side}" for column in METRICS for side in ("low", "high")]
        headings = [*first, "queries", "gallery", *METRICS, *bounds]
        setting = self.setting
        lines = []
        for row in self.rows:
            parameters = " ".join(f"{name}={value:g}" for name, value in row.parameters.items())
            lines.append(
                [
                    setting.model, setting.benchmark, setting.split, row.score, row.direction, row.post_processing,
                    "yes" if row.transductive else "no", parameters, len(row.ranks), row.gallery,
                    *(row.values.get(column, "") for column in METRICS),
                    *(bound for column in METRICS for bound in row.intervals.get(column, ("", ""))),
                ]
            )  # fmt: skip
        return as_csv(headings, lines)


def method_title(row: Row) -> str:
    """A row's post-processing as tables show it: its name, parameters, and whether it is transductive.

    >>> empty = np.array([])
    >>> method_title(Row("sum", "text_to_video", "sinkhorn", {"beta": 20.0}, {}, {}, empty, empty, 1))
    'Sinkhorn (beta 20; transductive)'
    """
    if row.post_processing == PLAIN:
        return "none"
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.parameters.items()]
    kind = "transductive" if row.transductive else "not transductive"
    return f"{METHOD_TITLES[row.post_processing]} ({', '.join(shown)}; {kind})"


def write_report(report: EvaluationReport, folder: Path) -> None:
    """Write `report.json`, `report.csv`, `report.md`, `report.tex` and `ranks.npz`.

    `report.json` comes last and whole: a folder that has it is complete.

    Raises:
        StorageError: the disk refuses.
    """
    tables = report.tables()
    arrays: dict[str, Any] = {row.key: row.ranks for row in report.rows}
    arrays |= {f"videos/{row.direction}": row.videos for row in report.rows}
    try:
        folder.mkdir(parents=True, exist_ok=True)
        (folder / "report.csv").write_text(report.csv(), encoding="utf-8")
        (folder / "report.md").write_text("\n".join(table.markdown() for table in tables), encoding="utf-8")
        (folder / "report.tex").write_text("\n".join(table.latex() for table in tables), encoding="utf-8")
        with (folder / RANKS_FILE).open("wb") as file:
            np.savez_compressed(file, allow_pickle=False, **arrays)
        partial = folder / f".{JSON_FILE}.part"
        partial.write_text(json.dumps(report.to_dict(), indent=1) + "\n", encoding="utf-8")
        os.replace(partial, folder / JSON_FILE)
    except OSError as error:
        raise StorageError(f"{folder} cannot be written ({error})", suggestion="another folder") from None


def read_report(folder: Path) -> EvaluationReport:
    """Read what `write_report` wrote.

    Raises:
        MissingPath: no report is there.
        BadConfig: files that do not belong together, or of another form.
    """
    try:
        values = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        with np.load(folder / RANKS_FILE, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = dict(file)
        setting = Setting(**{**values["setting"], "notes": tuple(values["setting"]["notes"])})
        rows = tuple(_row(entry, arrays) for entry in values["rows"])
        return EvaluationReport(
            setting,
            rows,
            {score: values[score]["twin_accuracy"] for score in SCORES if score in values},
            values["gallery"]["twins"],
            values["gallery"]["order_blind_ceiling"],
            values["seconds"],
            values["noise_test"],
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
        entry["score"],
        entry["direction"],
        entry["post_processing"],
        entry["parameters"],
        {column: entry[column] for column in METRICS if column in entry},
        {column: (low, high) for column, (low, high) in entry["intervals"].items()},
        arrays[key],
        arrays[f"videos/{entry['direction']}"],
        entry["gallery"],
    )


def _published_table(figures: Sequence[Published]) -> PaperTable:
    """Published figures of one benchmark, marked as such."""
    lines: list[tuple[str, ...]] = []
    for figure in figures:
        model = figure.model
        if figure.layers is not None:
            model += f" {{{figure.layers[0]},{figure.layers[1]}}}"
        line = (
            model,
            METHOD_TITLES[figure.post_processing] or "none",
            *(number(figure.values.get(column)) for column in METRICS),
            figure.source,
        )
        if line not in lines:
            lines.append(line)
    return PaperTable(
        f"Published for {figures[0].benchmark}, text to video (not measured here)",
        ("model", "post-processing", *METRICS, "source"),
        tuple(lines),
        words=2,
    )
