"""Benchmarks are loaded by their names."""

from pathlib import Path

import pytest

from prost.data.benchmarks import (
    BENCHMARK_NAMES,
    activitynet,
    didemo,
    load_benchmark,
    lsmdc,
    msvd,
    vatex,
    youcook2,
)
from prost.errors import MissingPath, UsageError

DOCUMENT = (Path(__file__).parents[3] / "docs" / "benchmarks.md").read_text(encoding="utf-8")
CONTRACT = "msrvtt-9k msrvtt-7k msrvtt-full didemo didemo-prost vatex lsmdc youcook2 msvd activitynet pairs"


def test_the_names() -> None:
    assert tuple(CONTRACT.split()) == BENCHMARK_NAMES


@pytest.mark.parametrize("name", BENCHMARK_NAMES)
def test_an_empty_folder_is_one_clear_line(name: str, tmp_path: Path) -> None:
    with pytest.raises(MissingPath) as caught:
        load_benchmark(name, tmp_path)
    assert "\n" not in str(caught.value) and "expected: " in str(caught.value)


def test_an_unknown_name_gets_the_nearest(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"no benchmark is called 'msrvtt9k'.*try: 'msrvtt-9k'"):
        load_benchmark("msrvtt9k", tmp_path)
    with pytest.raises(UsageError, match="expected: msrvtt-9k, "):
        load_benchmark("?", tmp_path)


def test_the_document_names_every_benchmark_and_its_published_numbers() -> None:
    rows = {line.split("|")[1].strip(" `"): line for line in DOCUMENT.splitlines() if line.startswith("| `")}
    assert set(rows) == {*BENCHMARK_NAMES} - {"pairs"}
    for name, expected in (
        ("didemo", didemo.EXPECTED),
        ("didemo-prost", didemo.EXPECTED_BY_PROST),
        ("vatex", vatex.EXPECTED),
        ("lsmdc", lsmdc.EXPECTED),
        ("msvd", msvd.EXPECTED),
        ("activitynet", activitynet.EXPECTED),
        *(("youcook2", expected) for expected in youcook2.EXPECTED.values()),
    ):
        for number in expected.values():
            assert number is None or f"{number:,}" in rows[name]
