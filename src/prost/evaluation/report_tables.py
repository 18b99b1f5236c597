"""A report as tables for people, and as CSV."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from prost.evaluation.hubness import FIRST
from prost.evaluation.metrics import METRICS
from prost.evaluation.published import Published, backbone_notes, published
from prost.evaluation.report import EvaluationReport
from prost.evaluation.rows import DIRECTIONS, JOINT, PLAIN, Row
from prost.evaluation.tables import PaperTable, as_csv, number, with_interval

SCORE_TITLES = {
    "sum": "sum",
    "event_sentence": "event-sentence",
    "object_phrase": "object-phrase",
    JOINT: "joint scorer",
}
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


def report_tables(
    report: EvaluationReport, with_intervals: Collection[str] = tuple(METRICS)
) -> list[PaperTable]:
    """One table a direction, then the published figures.

    Args:
        report: any.
        with_intervals: columns that show their interval.
    """
    directions = [name for name in DIRECTIONS if any(row.direction == name for row in report.rows)]
    alike = report.setting.captions == report.setting.videos
    if alike and "video_to_text_strict" in directions and "video_to_text_clip4clip" in directions:
        directions.remove("video_to_text_clip4clip")  # it has no hubness
    tables = []
    for direction in directions:
        title = DIRECTION_TITLES[direction]
        if alike and direction != "text_to_video":
            title = EITHER_VIDEO_TO_TEXT
        tables.append(_table(report, direction, title, with_intervals))
    if figures := published(benchmark=report.setting.benchmark):
        tables.append(_published_table(figures))
    return tables


def _table(
    report: EvaluationReport, direction: str, title: str, with_intervals: Collection[str]
) -> PaperTable:
    shows_twins = direction == "text_to_video" and report.twins > 0
    shows_reversed = direction == "text_to_video" and bool(report.reversed_accuracy)
    lines = []
    for row in report.rows:
        if row.direction != direction:
            continue
        cells = [
            with_interval(row.values, row.intervals if column in with_intervals else {}, column)
            for column in METRICS
        ]
        cells.append(number(row.hubness, 2))
        if shows_twins:
            plain = row.post_processing == PLAIN
            cells.append(number(report.twin_accuracy.get(row.score)) if plain else "")
        if shows_reversed:
            cells.append(_reversed_cell(report, row))
        lines.append((SCORE_TITLES[row.score], method_title(row), *cells))
    notes = list(report.setting.lines())
    if report.noise is not None:
        result = "passed" if report.noise["passed"] else "FAILED"
        notes.append(
            f"noise test: {result} (random features, with and without ties, {report.noise['seeds']} seeds of "
            f"{report.noise['videos']} videos: every row inside the binomial interval of chance)"
        )
    notes.append(
        f"hubness: skewness of how many queries have an item among their first {FIRST}; near 0 without hubs"
    )
    if shows_twins:
        ceiling = number(report.order_blind_ceiling) or "unknown"
        notes.append(
            "twins: percent of queries that score their video above its order-swapped twin (chance 50); "
            f"{report.twins:,} videos have one; R@1 of a perfect model that is blind to order: {ceiling}"
        )
    if shows_reversed:
        count = next(iter(report.reversed_accuracy.values())).videos
        notes.append(
            "reversed: percent of queries that score their video above the same video played backwards (chance "
            f"50), with its interval; {count:,} videos, each with a query that is false of it backwards"
        )
    return PaperTable(
        title=f"{report.setting.model} on {report.setting.benchmark} ({report.setting.split}): {title}",
        columns=(
            *("score", "post-processing", *METRICS, "hubness"),
            *(["twins"] if shows_twins else []),
            *(["reversed"] if shows_reversed else []),
        ),
        rows=tuple(lines),
        words=2,
        notes=tuple(notes),
    )


def _reversed_cell(report: EvaluationReport, row: Row) -> str:
    """The reversed accuracy of a plain row and its interval."""
    found = report.reversed_accuracy.get(row.score)
    if found is None or row.post_processing != PLAIN:
        return ""
    return with_interval({"reversed": found.accuracy}, {"reversed": found.interval}, "reversed")


def report_csv(report: EvaluationReport) -> str:
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
    setting = report.setting
    lines = []
    for row in report.rows:
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


def row_titles(key: str) -> tuple[str, str, str]:
    """Score, direction and post-processing of a row as tables show them.

    >>> row_titles("event_sentence/text_to_video/none")
    ('event-sentence', 'text to video', 'none')
    """
    score, direction, method = key.split("/")
    return SCORE_TITLES[score], DIRECTION_TITLES[direction], METHOD_TITLES[method] or "none"


def method_title(row: Row) -> str:
    """A row's post-processing as tables show it: name, parameters, and whether it is transductive."""
    if row.post_processing == PLAIN:
        return "none"
    shown = [f"{name.replace('_', ' ')} {value:.4g}" for name, value in row.parameters.items()]
    kind = "transductive" if row.transductive else "not transductive"
    return f"{METHOD_TITLES[row.post_processing]} ({', '.join(shown)}; {kind})"


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
