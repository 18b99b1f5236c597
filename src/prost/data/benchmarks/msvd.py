"""MSVD: 1,970 YouTube clips with about 40 captions each.

`{train,val,test}_list.txt` contain ids. Captions are in `raw-captions.pkl`, `{id: [[word, ...], ...]}`, or in
`captions_msvd.json`, `{id: [caption, ...]}`.
"""

from __future__ import annotations

from prost.data.benchmarks.annotations import caption_lists, read_json, read_list
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.benchmarks.plain_pickle import read_plain_pickle
from prost.data.records import Benchmark
from prost.errors import BadAnnotations

EXPECTED: dict[str, int | None] = {"train": 1200, "val": 100, "test": 670}


def msvd(found: BenchmarkFolder) -> Benchmark:
    """Read train, val and test with all captions."""
    caption_file = found.need("raw-captions.pkl", "captions_msvd.json")
    if caption_file.suffix == ".json":
        content = read_json(caption_file, dict)
    else:
        content = read_plain_pickle(caption_file)
        if not isinstance(content, dict):
            raise BadAnnotations(
                f"{caption_file} holds a {type(content).__name__}", "a dict of lists of captions"
            )
    captions = caption_lists(caption_file, content)
    splits = {}
    for split in EXPECTED:
        listed = found.need(f"{split}_list.txt")
        splits[split] = found.records(read_list(listed), listed, captions, caption_file)
    return found.benchmark("msvd", splits, EXPECTED)
