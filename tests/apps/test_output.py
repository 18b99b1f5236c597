"""What is printed can be read again: by programs as JSON, by people as lines."""

import json
import logging
import os
import re

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


def test_cells_and_lines_are_harmless(capsys: Capture) -> None:
    name = "a  b\x1b[31m:smile:\nerror: c\u202e.mp4"
    shown = r"a  b\x1b[31m:smile:\nerror: c\u202e.mp4"
    output.print_table([name], [[name]], title=name)
    output.print_line(name)
    output.say(name)
    out, err = capsys.readouterr()
    assert out.count(shown) == 4 and err == f"{shown}\n"
    assert "\x1b" not in out and "\u202e" not in out


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0:00"), (59.6, "1:00"), (3599, "59:59"), (36610, "10:10:10")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert output.format_duration(seconds) == shown


def test_long_paths_are_whole_in_a_log(capsys: Capture) -> None:
    path = "/videos/" + "deep/" * 25 + "a.mp4"
    output.print_table(["video", ">score"], [[path, "0.5"]])
    assert path in capsys.readouterr().out


def test_progress_in_a_log_is_plain_lines(capsys: Capture, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(output, "SECONDS_BETWEEN_LOG_LINES", 0.0)
    with output.progress("indexing", "files") as advance:
        advance(1, 2, "a.mp4")
        advance(2, 2, "b.mp4", "1 failed")
    out, err = capsys.readouterr()
    assert out == ""
    first, second = err.splitlines()
    assert re.fullmatch(r"indexing: 1 of 2, [\d,.]+ files/s, 0:00 left", first)
    assert re.fullmatch(r"indexing: 2 of 2, [\d,.]+ files/s, 1 failed", second)


def test_a_name_that_the_terminal_cannot_show_does_not_end_the_program(capfd: Capture) -> None:
    assert main(["eval", os.fsdecode(b"/nowhere/\xff")]) == 2
    assert capfd.readouterr().err.startswith("error: /nowhere/\\xff does not exist")


def test_a_warning_that_is_logged_is_one_harmless_line(capsys: Capture) -> None:
    with output.warnings_on_stderr():
        logging.getLogger("prost").warning("%s replaces it", "a\x1b[2J\nerror: b.mp4")
        logging.getLogger("prost").info("not shown")
    logging.getLogger("prost").warning("nobody prints this here")
    assert capsys.readouterr().err == r"warning: a\x1b[2J\nerror: b.mp4 replaces it" + "\n"
