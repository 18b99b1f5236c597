"""LSMDC: tabs, no headings, ids that repeat and hold dots."""

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations

FIRST, SECOND = "0001_Film_00.00.51.926-00.00.54.129", "0001_Film_00.01.00.000-00.01.04.250"


def line(clip: str, sentence: str) -> str:
    return "\t".join((clip, "00.00.51.926", "00.00.54.129", "00.00.51.000", "00.00.55.000", sentence))


@pytest.fixture
def lsmdc(mini: Miniature) -> Miniature:
    mini.lines(
        "LSMDC16_annos_training.csv",
        line(FIRST, 'SOMEONE says, "no".'),
        line(SECOND, "A car stops."),
        line(FIRST, "He shakes his head."),
        "",
    )
    mini.lines("LSMDC16_annos_val.csv", line("0002_Other_00.00.01.000-00.00.02.000", "Night falls."))
    mini.text(
        "LSMDC16_challenge_1000_publictect.csv", line("0003_Third_00.00.01.000-00.00.02.000", "She runs.")
    )
    mini.videos(f"0001_Film/{FIRST}.avi", f"0001_Film/{SECOND}.mp4")
    return mini


def test_lines_of_one_clip_are_its_captions(lsmdc: Miniature) -> None:
    benchmark = load_benchmark("lsmdc", lsmdc.folder)
    first, second = benchmark.splits["train"]
    # A quotation mark is part of the sentence, not of the table.
    assert first.captions == ('SOMEONE says, "no".', "He shakes his head.")
    assert "train: 3 lines of 2 clips" in benchmark.notes
    # The dots of an id are no extension, and clips are cut already.
    assert first.path is not None and first.path.name == f"{FIRST}.avi"
    assert second.path is not None and (second.start, second.end) == (None, None)
    assert benchmark.expected == {"train": None, "val": 7408, "test": 1000}
    assert [record.captions for record in benchmark.splits["test"]] == [("She runs.",)]


def test_commas_instead_of_tabs(lsmdc: Miniature) -> None:
    lsmdc.lines("LSMDC16_annos_val.csv", line("a", "b"), "clip,0,1,0,1,text")
    with pytest.raises(BadAnnotations, match="line 2 has 1 columns; expected: 6, separated by tabs"):
        load_benchmark("lsmdc", lsmdc.folder)
