"""ActivityNet Captions: the query of a video are its sentences, joined (paragraph retrieval).

`train.json` and `val_1.json` are `{id: {duration, timestamps, sentences}}`; `train_ids.json` and `val_ids.json` are
lists of ids. Ids start with `v_`; file names may lack this prefix. Papers report val_1 as test.
"""

from __future__ import annotations

from dataclasses import replace

from prost.data.benchmarks.annotations import caption_of, read_json
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.records import Benchmark
from prost.errors import BadAnnotations

FILES = {"train": ("train_ids.json", "train.json"), "test": ("val_ids.json", "val_1.json")}
EXPECTED: dict[str, int | None] = {"train": 10_009, "test": 4917}
PREFIX = "v_"


def activitynet(found: BenchmarkFolder) -> Benchmark:
    """Read train, and val_1 as test."""
    splits = {}
    for split, (ids_name, sentences_name) in FILES.items():
        ids_file, sentences_file = found.need(ids_name), found.need(sentences_name)
        content = read_json(sentences_file, dict)
        try:
            paragraphs = {
                video: " ".join(
                    caption_of(sentence, f"{sentences_file}: {video}").strip()
                    for sentence in row["sentences"]
                )
                for video, row in content.items()
            }
        except (KeyError, TypeError, AttributeError):
            raise BadAnnotations(
                f"{sentences_file} holds a video without sentences", "duration, timestamps, sentences"
            ) from None
        ids = [str(video) for video in read_json(ids_file, list)]
        captions = {video: [paragraphs[video]] for video in ids if video in paragraphs}
        splits[split] = tuple(
            replace(record, path=record.path or found.video(record.video.removeprefix(PREFIX)))
            for record in found.records(ids, ids_file, captions, sentences_file)
        )
    found.notes.append("paragraph retrieval: a video's sentences joined")
    found.notes.append(
        "test is val_1, and there is no val split: hold out a part of train, or say 'selected on test'"
    )
    return found.benchmark("activitynet", splits, EXPECTED, frames=64, max_words=64)
