"""Tables for papers, documents and spreadsheets: Markdown, LaTeX, CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from prost.evaluation.metrics import METRICS

_LATEX = {
    "\\": r"\textbackslash{}",
    "&": r"\&",
    "%": r"\%",
    "$": r"\$",
    "#": r"\#",
    "_": r"\_",
    "{": r"\{",
    "}": r"\}",
    "~": r"\textasciitilde{}",
    "^": r"\textasciicircum{}",
    "|": r"\textbar{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "±": r"$\pm$",
    "×": r"$\times$",
    "→": r"$\rightarrow$",
    "–": "--",
}


@dataclass(frozen=True, kw_only=True)
class PaperTable:
    """A table whose cells are text.

    Attributes:
        title: one line above.
        columns: headings.
        rows: one cell for each column.
        words: number of leading columns that hold words and are aligned left; the others hold numbers.
        notes: lines below.
    """

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    words: int = 1
    notes: tuple[str, ...] = ()

    def markdown(self) -> str:
        """A pipe table under its title, notes below.

        >>> rows = (("a|b", "1.0"),)
        >>> print(PaperTable(title="Two", columns=("model", "R@1"), rows=rows, notes=("seed 0",)).markdown())
        ## Two
        <BLANKLINE>
        | model | R@1 |
        |---|--:|
        | a\\|b | 1.0 |
        <BLANKLINE>
        - seed 0
        <BLANKLINE>
        """
        rule = "|" + "".join("---|" if place < self.words else "--:|" for place in range(len(self.columns)))
        lines = [f"## {self.title}", "", _pipes(self.columns), rule, *(_pipes(row) for row in self.rows)]
        if self.notes:
            lines += ["", *(f"- {note}" for note in self.notes)]
        return "\n".join(lines) + "\n"

    def latex(self) -> str:
        """A `table` with rules of the booktabs package.

        >>> print(PaperTable(title="R", columns=("model", "R@1"), rows=(("a_b", "1.0"),)).latex())
        \\begin{table}
          \\caption{R}
          \\begin{tabular}{lr}
            \\toprule
            model & R@1 \\\\
            \\midrule
            a\\_b & 1.0 \\\\
            \\bottomrule
          \\end{tabular}
        \\end{table}
        <BLANKLINE>
        """
        numbers = len(self.columns) - self.words
        caption = ". ".join([self.title, *self.notes])
        lines = [
            r"\begin{table}",
            rf"  \caption{{{_latex(caption)}}}",
            rf"  \begin{{tabular}}{{{'l' * self.words}{'r' * numbers}}}",
            r"    \toprule",
            _ampersands(self.columns),
            r"    \midrule",
            *(_ampersands(row) for row in self.rows),
            r"    \bottomrule",
            r"  \end{tabular}",
            r"\end{table}",
        ]
        return "\n".join(lines) + "\n"

    def csv(self) -> str:
        """Comma-separated values with the headings first, without title and notes.

        >>> PaperTable(title="R", columns=("model", "R@1"), rows=(("a, b", "1.0"),)).csv()
        'model,R@1\\n"a, b",1.0\\n'
        """
        return as_csv(self.columns, self.rows)


def as_csv(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> str:
    """Rows as comma-separated text."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return text.getvalue()


def number(value: float | None, digits: int = 1) -> str:
    """A number for a table; empty for None."""
    return "" if value is None else f"{value:.{digits}f}"


def with_interval(values: Mapping[str, float], intervals: Mapping[str, Sequence[float]], column: str) -> str:
    """A value and its interval; empty where the row lacks the column.

    >>> with_interval({"R@1": 48.2}, {"R@1": (45.1, 51.3)}, "R@1")
    '48.2 [45.1, 51.3]'
    """
    if column not in values:
        return ""
    if column not in intervals:
        return number(values[column])
    low, high = intervals[column]
    return f"{values[column]:.1f} [{low:.1f}, {high:.1f}]"


def mean_and_spread(values: Sequence[float], digits: int = 1) -> str:
    """Mean and standard deviation over runs (n - 1 in the denominator).

    >>> mean_and_spread([47.0, 48.0, 49.0]), mean_and_spread([47.0])
    ('48.0 ± 1.0', '47.0')
    """
    mean = sum(values) / len(values)
    if len(values) == 1:
        return number(mean, digits)
    spread = (sum((value - mean) ** 2 for value in values) / (len(values) - 1)) ** 0.5
    return f"{mean:.{digits}f} ± {spread:.{digits}f}"


PAPER_COLUMNS = tuple(column for column in METRICS if column in {"R@1", "R@5", "R@10", "MdR", "MnR"})


def _pipes(cells: Sequence[str]) -> str:
    return f"| {' | '.join(cell.replace('|', chr(92) + '|') for cell in cells)} |"


def _ampersands(cells: Sequence[str]) -> str:
    return f"    {' & '.join(_latex(cell) for cell in cells)} \\\\"


def _latex(text: str) -> str:
    return "".join(_LATEX.get(letter, letter) for letter in text)
