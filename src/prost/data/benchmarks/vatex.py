"""VATEX: clips of YouTube with ten English captions each; many are no longer to be had.

`{train,test}_list.txt` hold ids, `ref_captions.json` is `{id: [caption, ...]}`. TS2-Net takes the test split for
validation.
"""

from __future__ import annotations

from prost.data.benchmarks.annotations import caption_lists, read_json, read_list
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.records import Benchmark

EXPECTED: dict[str, int | None] = {"train": 25_991, "val": 1500, "test": 1500}


def vatex(found: BenchmarkFolder) -> Benchmark:
    """Train and test, and val where it has a list of its own."""
    caption_file = found.need("ref_captions.json")
    captions = caption_lists(caption_file, read_json(caption_file, dict))
    splits = {}
    for split in EXPECTED:
        name = f"{split}_list.txt"
        if split == "val" and not found.find(name):
            found.notes.append(
                "no val split is there (TS2-Net validates on test): hold out part of train, or say 'selected on test'"
            )
            continue
        listed = found.need(name)
        splits[split] = found.records(read_list(listed), listed, captions, caption_file)
    return found.benchmark("vatex", splits, EXPECTED)
