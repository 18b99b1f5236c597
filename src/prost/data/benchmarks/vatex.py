"""VATEX: YouTube clips with ten English captions each; many are no longer available.

`{train,test}_list.txt` contain ids, `ref_captions.json` is `{id: [caption, ...]}`. TS2-Net validates on the test split.
"""

from __future__ import annotations

from prost.data.benchmarks.annotations import caption_lists, read_json, read_list
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.records import Benchmark

EXPECTED: dict[str, int | None] = {"train": 25_991, "val": 1500, "test": 1500}


def vatex(found: BenchmarkFolder) -> Benchmark:
    """Read train and test, and val if it has a list."""
    caption_file = found.need("ref_captions.json")
    captions = caption_lists(caption_file, read_json(caption_file, dict))
    splits = {}
    for split in EXPECTED:
        name = f"{split}_list.txt"
        if split == "val" and not found.find(name):
            found.notes.append(
                "there is no val split (TS2-Net validates on test): hold out a part of train, or say 'selected on test'"
            )
            continue
        listed = found.need(name)
        splits[split] = found.records(read_list(listed), listed, captions, caption_file)
    return found.benchmark("vatex", splits, EXPECTED)
