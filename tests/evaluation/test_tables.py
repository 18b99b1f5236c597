"""Tables as other programs read them."""

import csv
import io

from prost.evaluation.tables import PaperTable, mean_and_spread, with_interval

TABLE = PaperTable(
    title="50% & more",
    columns=("model_name", "R@1"),
    rows=(("a, {b}", "1.0 ± 0.5"), ('say "c"', "2.0")),
    notes=("x_1",),
)


def test_csv_reads_back() -> None:
    assert list(csv.reader(io.StringIO(TABLE.csv()))) == [list(TABLE.columns), *map(list, TABLE.rows)]


def test_latex_escapes_what_latex_reads() -> None:
    text = TABLE.latex()
    assert r"\caption{50\% \& more. x\_1}" in text
    assert r"a, \{b\} & 1.0 $\pm$ 0.5 \\" in text
    assert r"model\_name & R@1 \\" in text
    assert text.count("{") - text.count(r"\{") == text.count("}") - text.count(r"\}")


def test_markdown_has_a_cell_for_every_column() -> None:
    lines = [line for line in TABLE.markdown().splitlines() if line.startswith("|")]
    assert {line.count("|") for line in lines} == {3}
    assert lines[1] == "|---|--:|"


def test_a_spread_needs_two_runs() -> None:
    assert mean_and_spread([1.0, 3.0]) == "2.0 ± 1.4"
    assert mean_and_spread([5.0]) == "5.0"


def test_a_column_that_a_row_lacks_is_empty() -> None:
    assert with_interval({"R@1": 4.0}, {}, "R@5") == ""
    assert with_interval({"R@1": 4.0}, {}, "R@1") == "4.0"
