"""What is printed can be read again: by programs as JSON, by people as lines."""

import json
import os

import pytest

from prost.apps.cli import main, output

Capture = pytest.CaptureFixture[str]


def test_json_survives_any_name_of_a_file(capsys: Capture) -> None:
    value = {"path": os.fsdecode(b"caf\xe9.mp4"), "text": "été", "score": 0.1}
    output.print_json(value)
    printed = capsys.readouterr().out
    assert printed.isascii()
    assert json.loads(printed) == value


def test_json_refuses_what_is_no_number() -> None:
    with pytest.raises(ValueError, match="JSON"):
        output.print_json({"score": float("nan")})


def test_cells_of_a_table_are_printed_as_they_are(capsys: Capture) -> None:
    output.print_table(["video", ">score"], [["[bold]a[/bold].mp4", "0.5"]], title="[x]")
    printed = capsys.readouterr().out
    assert "[bold]a[/bold].mp4" in printed and "[x]" in printed


def test_long_paths_are_whole_in_a_log(capsys: Capture) -> None:
    path = "/videos/" + "deep/" * 25 + "a.mp4"
    output.print_table(["video", ">score"], [[path, "0.5"]])
    assert path in capsys.readouterr().out


def test_progress_in_a_log_is_plain_lines(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    with output.progress("indexing") as advance:
        advance(1, 2, "a.mp4")
        advance(2, 2, "b.mp4")
    out, err = capsys.readouterr()
    assert out == ""
    assert err.splitlines() == ["indexing: 1 of 2", "indexing: 2 of 2"]


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_program(capfd: Capture) -> None:
    assert main(["eval", os.fsdecode(b"/nowhere/\xff")]) == 2
    assert capfd.readouterr().err.startswith("error: /nowhere/\\udcff does not exist")
