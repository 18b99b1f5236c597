"""DiDeMo: the query of a video are its descriptions, joined (paragraph retrieval); 64 frames, 64 words.

`{split}_list.txt` contains file names with extension, which are the ids; `{split}_data.json` is a list of `video`,
`description`, `times`. In ProST's variant both are called `..._mp4`. The annotators saw the first 30 seconds;
CLIP4Clip, TS2-Net and ProST read 31.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import replace

from prost.data.benchmarks.annotations import caption_of, read_json, read_list
from prost.data.benchmarks.folder import BenchmarkFolder, without_extension
from prost.data.records import Benchmark
from prost.errors import BadAnnotations

SECONDS_READ = 31.0
EXPECTED: dict[str, int | None] = {"train": 8395, "val": 1065, "test": 1004}
# Three videos of train were no longer available when ProST was trained.
EXPECTED_BY_PROST: dict[str, int | None] = {**EXPECTED, "train": 8392}


def didemo(found: BenchmarkFolder) -> Benchmark:
    """Read the usual three splits."""
    return _load(found, "didemo", "", EXPECTED)


def didemo_prost(found: BenchmarkFolder) -> Benchmark:
    """Read the splits of ProST's authors, who train on the lists called `..._mp4`."""
    return _load(found, "didemo-prost", "_mp4", EXPECTED_BY_PROST)


def _load(found: BenchmarkFolder, name: str, variant: str, expected: dict[str, int | None]) -> Benchmark:
    splits = {}
    for split in expected:
        listed_name, data_name = f"{split}_list{variant}.txt", f"{split}_data{variant}.json"
        if split == "val" and not (found.find(listed_name) and found.find(data_name)):
            found.notes.append("there is no val split: hold out a part of train, or say 'selected on test'")
            continue
        listed, data = found.need(listed_name), found.need(data_name)
        descriptions: dict[str, list[str]] = defaultdict(list)
        try:
            for row in read_json(data, list):
                # After re-encoding, the list can have other extensions than the descriptions.
                video = without_extension(str(row["video"]))
                descriptions[video].append(caption_of(row["description"], f"{data}: {video}").strip())
        except (KeyError, TypeError):
            raise BadAnnotations(
                f"{data} holds a row without video or description", "video, description, times"
            ) from None
        ids = read_list(listed)
        paragraphs = {video: [" ".join(descriptions[without_extension(video)])] for video in ids}
        whole = found.records(ids, listed, paragraphs, data)
        splits[split] = tuple(replace(record, start=0.0, end=SECONDS_READ) for record in whole)
    found.notes.append("paragraph retrieval: a video's descriptions joined; the first 31 s of each video")
    return found.benchmark(name, splits, expected, frames=64, max_words=64)
