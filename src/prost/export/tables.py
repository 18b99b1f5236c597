"""Hits as files that other programs read: JSON, CSV, Parquet."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from prost.export.outputs import new_output, suffix_of
from prost.search.hits import SearchResult

SUFFIXES = (".json", ".csv", ".parquet")


def write_hits(path: Path, hits: SearchResult, *, query: str, force: bool = False) -> None:
    """Write hits in the format that the output's name says.

    JSON holds the query, the hits, each with its moments, the notes of the search, and its confidence: whether anything
    fits, or null where nothing is known to compare with. CSV and Parquet hold the rows of `SearchResult.to_table`;
    in CSV the items of a list are separated by line feeds.

    Args:
        path: a name that ends in .json, .csv or .parquet.
        hits: of a search.
        query: the sentence.
        force: replace a file that is there.

    Raises:
        UsageError: another suffix, or the output exists.
        OSError: the disk refuses.
    """
    suffix = suffix_of(path, SUFFIXES)
    with new_output(path, force) as temporary:
        if suffix == ".json":
            found = {
                "query": query,
                "hits": [hit.as_dict() for hit in hits],
                "notes": hits.notes,
                "confidence": None if hits.confidence is None else hits.confidence.as_dict(),
            }
            temporary.write_text(json.dumps(found, indent=2, allow_nan=False) + "\n", encoding="ascii")
        elif suffix == ".parquet":
            pq.write_table(hits.to_table(), temporary)
        else:
            table = hits.to_table()
            with temporary.open("w", encoding="utf-8", newline="") as file:
                writer = csv.writer(file)
                writer.writerow(table.column_names)
                writer.writerows([_cell(value) for value in row.values()] for row in table.to_pylist())


def _cell(value: Any) -> Any:
    return "\n".join(value) if isinstance(value, list) else value
