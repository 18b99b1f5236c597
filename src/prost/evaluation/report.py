"""A report: rows, and everything that is needed to read them; as JSON, CSV, Markdown and LaTeX."""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from prost.data.writing import written_whole
from prost.errors import BadConfig, MissingPath, UsageError
from prost.evaluation.bootstrap import PairedResult
from prost.evaluation.hubness import FIRST
from prost.evaluation.metrics import METRICS, Ranks, RetrievalMetrics, Scores
from prost.evaluation.published import Published, backbone_notes, published
from prost.evaluation.reversal import ReversedAccuracy
from prost.evaluation.rows import DIRECTIONS, PLAIN, SCORES, Row
from prost.evaluation.tables import PaperTable, as_csv, number, with_interval

if TYPE_CHECKING:
    from prost.evaluation.sets import EvaluationSet

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


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How numbers were made; it is printed with every table.

    Attributes:
        model: the name that was given.
        architecture: "prost", "clip4clip", "ts2net".
        fingerprint: of configuration and weights.
        benchmark: name of the benchmark or gallery.
        split: its split.
        queries: digest of videos and captions; reports that share it can be compared query by query.
        videos: G, the size of the gallery.
        published_videos: published number of videos; None where there is none.
        captions: C.
        frames: L.
        image_size: R.
        max_words: of a text.
        sampling: which frames of a video the model sees, in words.
        object_phrase_weight: in the sum; None for a model without parts.
        temperature: of the inverted softmax.
        temperature_source: where it comes from, in words.
        bank_captions: number of training captions in the bank.
        bank_videos: number of training videos in the bank.
        bootstrap_samples: number of times that the videos are drawn.
        bootstrap_seed: of the draws.
        machine: the machine and the device that did the work.
        precision: "fp32" or "bf16", of the vision tower.
        training_seed: of the model; None where it is unknown.
        notes: anything else that a reader has to know.
        versions: of the software that computed them.
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
    temperature_source: str
    bank_captions: int
    bank_videos: int
    bootstrap_samples: int
    bootstrap_seed: int
    machine: str
    precision: str = "fp32"
    training_seed: int | None = None
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        """The setting in words, for below a table: first about the model, then about the set and the methods."""
        return (
            self.model_line(),
            *self.shared_lines(),
            self.temperature_line(),
            f"computed on {self.machine}, vision tower in {self.precision}",
        )

    def model_line(self) -> str:
        """The model in words."""
        seed = "unknown" if self.training_seed is None else str(self.training_seed)
        who = [f"{self.architecture}, {self.fingerprint}", f"training seed {seed}"]
        if self.object_phrase_weight is not None:
            who.append(f"sum: event-sentence + {self.object_phrase_weight:g} x object-phrase")
        return f"{self.model} ({'; '.join(who)})"

    def shared_lines(self) -> tuple[str, ...]:
        """The rest of the setting, except what belongs to one model or one run, in words."""
        gallery = f"{self.videos:,} videos"
        if self.published_videos is not None and self.published_videos != self.videos:
            gallery += f" of {self.published_videos:,}"
        bank = f"bank of {self.bank_captions:,} training captions and {self.bank_videos:,} training videos"
        return (
            f"{self.benchmark}, {self.split} split: gallery of {gallery}, {self.captions:,} captions",
            f"{self.frames} frames of {self.image_size} pixels, {self.max_words} words; sampling: {self.sampling}",
            f"intervals: 95%, bootstrap of {self.bootstrap_samples:,} draws of the videos, seed {self.bootstrap_seed} "
            "(exact binomial where all queries or none are found); ties: mean rank",
            f"post-processing: no parameter tuned on this split; scores are cosines; {bank}",
            *self.notes,
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        )

    def temperature_line(self) -> str:
        """The temperature of the inverted softmax, on which its row depends, in words."""
        return f"temperature of the inverted softmax: {self.temperature:.4g}, {self.temperature_source}"


@dataclass(frozen=True, eq=False, kw_only=True)
class ReportSection:
    """The plain row of one score, text to video.

    Attributes:
        metrics: the columns.
        interval: 95% bootstrap interval of R@1, in percent.
        ranks: rank of the true video of each query, `[Q]`.
        twin_accuracy: percent of queries that score their video above its order-swapped twin (a tie counts half); None
            where no video has a twin.
    """

    metrics: RetrievalMetrics
    interval: tuple[float, float]
    ranks: Ranks
    twin_accuracy: float | None


@dataclass(frozen=True, eq=False, kw_only=True)
class EvaluationReport:
    """A model's results on an evaluation set.

    Attributes:
        setting: how they were made.
        rows: every score, direction and post-processing.
        twin_accuracy: for each score; see `ReportSection`.
        twins: number of videos that have an order-swapped twin in the gallery.
        order_blind_ceiling: R@1 in percent of a perfect model that is blind to order; None where there are no twins.
        comparisons: paired bootstrap of R@1, text to video: the sum against each part, "sum - event_sentence".
        seconds: wall time of waiting for pixels ("read"), of encoding and of matching.
        reversed_accuracy: for each score; empty where no video was shown backwards.
        noise: the result of the noise test, if it was run.
        scores: the matrices `[C, V]` by score; None in a report that was read from files.
    """

    setting: Setting
    rows: tuple[Row, ...]
    twin_accuracy: Mapping[str, float | None]
    twins: int
    order_blind_ceiling: float | None
    comparisons: Mapping[str, PairedResult]
    seconds: Mapping[str, float]
    reversed_accuracy: Mapping[str, ReversedAccuracy] = field(default_factory=dict)
    noise: Mapping[str, Any] | None = None
    scores: Mapping[str, Scores] | None = None

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

    def score_matrices(self) -> Mapping[str, Scores]:
        """`scores` of a report that has them.

        Raises:
            UsageError: the report was read from files.
        """
        if self.scores is None:
            raise UsageError("a report without its scores", "the result of `evaluate_set`")
        return self.scores

    @property
    def parts(self) -> dict[str, ReportSection]:
        """The plain rows of text to video, by score."""
        return {
            row.score: ReportSection(
                metrics=RetrievalMetrics.from_ranks(row.ranks, row.gallery),
                interval=row.intervals["R@1"],
                ranks=row.ranks,
                twin_accuracy=self.twin_accuracy.get(row.score),
            )
            for row in self.rows
            if row.direction == "text_to_video" and row.post_processing == PLAIN
        }

    def to_dict(self) -> dict[str, Any]:
        """Plain values: the columns of each score, and what is needed to read them."""
        parts = {
            score: {
                **part.metrics.to_dict(),
                "R@1_interval": [round(bound, 2) for bound in part.interval],
                "twin_accuracy": part.twin_accuracy,
                "reversed": self.reversed_accuracy[score].to_dict() if self.reversed_accuracy else None,
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
            "comparisons": {name: asdict(result) for name, result in self.comparisons.items()},
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
        if alike and "video_to_text_strict" in directions and "video_to_text_clip4clip" in directions:
            directions.remove("video_to_text_clip4clip")  # it has no hubness
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
        shows_reversed = direction == "text_to_video" and bool(self.reversed_accuracy)
        lines = []
        for row in self.rows:
            if row.direction != direction:
                continue
            cells = [
                with_interval(row.values, row.intervals if column in with_intervals else {}, column)
                for column in METRICS
            ]
            cells.append(number(row.hubness, 2))
            if shows_twins:
                plain = row.post_processing == PLAIN
                cells.append(number(self.twin_accuracy.get(row.score)) if plain else "")
            if shows_reversed:
                cells.append(self._reversed_cell(row))
            lines.append((SCORE_TITLES[row.score], method_title(row), *cells))
        notes = list(self.setting.lines())
        if self.noise is not None:
            result = "passed" if self.noise["passed"] else "FAILED"
            notes.append(
                f"noise test: {result} (random features, with and without ties, {self.noise['seeds']} seeds of "
                f"{self.noise['videos']} videos: every row inside the binomial interval of chance)"
            )
        notes.append(
            f"hubness: skewness of how many queries have an item among their first {FIRST}; near 0 without hubs"
        )
        if shows_twins:
            ceiling = number(self.order_blind_ceiling) or "unknown"
            notes.append(
                "twins: percent of queries that score their video above its order-swapped twin (chance 50); "
                f"{self.twins:,} videos have one; R@1 of a perfect model that is blind to order: {ceiling}"
            )
        if shows_reversed:
            count = next(iter(self.reversed_accuracy.values())).videos
            notes.append(
                "reversed: percent of queries that score their video above the same video played backwards (chance "
                f"50), with its interval; {count:,} videos, each with a query that is false of it backwards"
            )
        return PaperTable(
            title=f"{self.setting.model} on {self.setting.benchmark} ({self.setting.split}): {title}",
            columns=(
                *("score", "post-processing", *METRICS, "hubness"),
                *(["twins"] if shows_twins else []),
                *(["reversed"] if shows_reversed else []),
            ),
            rows=tuple(lines),
            words=2,
            notes=tuple(notes),
        )

    def _reversed_cell(self, row: Row) -> str:
        """The reversed accuracy of a plain row and its interval."""
        if row.post_processing != PLAIN:
            return ""
        found = self.reversed_accuracy[row.score]
        return with_interval({"reversed": found.accuracy}, {"reversed": found.interval}, "reversed")

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
        headings = [*first, "queries", "gallery", "hubness", *METRICS, *bounds]
        setting = self.setting
        lines = []
        for row in self.rows:
            parameters = " ".join(f"{name}={value:g}" for name, value in row.parameters.items())
            lines.append(
                [
                    setting.model, setting.benchmark, setting.split, row.score, row.direction, row.post_processing,
                    "yes" if row.transductive else "no", parameters, len(row.ranks), row.gallery,
                    "" if row.hubness is None else row.hubness,
                    *(row.values.get(column, "") for column in METRICS),
                    *(bound for column in METRICS for bound in row.intervals.get(column, ("", ""))),
                ]
            )  # fmt: skip
        return as_csv(headings, lines)


def method_title(row: Row) -> str:
    """A row's post-processing as tables show it: name, parameters, and whether it is transductive."""
    if row.post_processing == PLAIN:
        return "none"
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.parameters.items()]
    kind = "transductive" if row.transductive else "not transductive"
    return f"{METHOD_TITLES[row.post_processing]} ({', '.join(shown)}; {kind})"


def write_report(report: EvaluationReport, folder: Path) -> None:
    """Write `report.json`, `report.csv`, `report.md`, `report.tex` and `ranks.npz`.

    `report.json` is written last, and completely or not at all: a folder that has it is complete.

    Raises:
        StorageError: the files cannot be written.
    """
    tables = report.tables()
    arrays: dict[str, Any] = {row.key: row.ranks for row in report.rows}
    arrays |= {f"videos/{row.direction}": row.videos for row in report.rows}
    texts = {
        "report.csv": report.csv(),
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

    The file holds a float32 matrix `[C, V]` for each score ("sum", and "event_sentence" and "object_phrase" where the
    model has these parts), "videos" `[V]` (ids), "captions" `[C]`, and "video_of_caption" `[C]`.

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


def read_report(folder: Path) -> EvaluationReport:
    """Read what `write_report` wrote.

    Raises:
        MissingPath: the folder holds no report.
        BadConfig: files that do not belong together, or that have another form.
    """
    try:
        values = json.loads((folder / JSON_FILE).read_text(encoding="utf-8"))
        with np.load(folder / RANKS_FILE, allow_pickle=False) as file:
            arrays: dict[str, NDArray[Any]] = dict(file)
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
        title=f"Published for {figures[0].benchmark}, text to video (not measured here)",
        columns=("model", "post-processing", *METRICS, "source"),
        rows=tuple(lines),
        words=2,
        notes=tuple(backbone_notes(figures)),
    )
