"""MSR-VTT: 10,000 clips with about 20 captions each, with three usual ways to split them.

Two packages are in use. CLIP4Clip's contains `MSRVTT_data.json` (`sentences` of `video_id` and `caption`, `videos`) and
CSV files; Frozen in Time's contains `MSR_VTT.json` (`annotations` of `image_id` and `caption`) and lists. The content
of the JSON file tells them apart; the lists can come from either package.
"""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from prost.data.benchmarks.annotations import caption_of, read_json, read_list, read_table
from prost.data.benchmarks.folder import BenchmarkFolder
from prost.data.benchmarks.plain_pickle import read_plain_pickle
from prost.data.records import Benchmark, VideoRecord
from prost.errors import BadAnnotations

CAPTION_FILES = ("MSRVTT_data.json", "MSR_VTT.json")
NO_VALIDATION = "there is no published val split: hold out a part of train, or say 'selected on test'"

MISSING_LABELS = (
    "many captions fit further videos, which count as wrong: up to 25 points of MSR-VTT's recall are missing labels "
    "(FIRE, arXiv 2210.05038)"
)
OTHER_GALLERIES = (
    "mteb's MSRVTTT2V has 879 of these 1,000 test videos and ranks by nDCG@10: its figures are others"
)

# The official splits by number: the first 6,513 are train, the next 497 val, the last 2,990 test.
OFFICIAL = {"train": range(6513), "val": range(6513, 7010), "test": range(7010, 10_000)}
OFFICIAL_LISTS = {split: f"{split}_list_full.txt" for split in OFFICIAL}


@dataclass(frozen=True)
class _Captions:
    """Captions by id, in the order of their file."""

    path: Path
    of: dict[str, list[str]]


def msrvtt_9k(found: BenchmarkFolder) -> Benchmark:
    """Read 9,000 clips of train, and as test the 1,000 of JSFusion (1k-A) with one caption each."""
    captions = _read_captions(found)
    train_list = found.need("MSRVTT_train.9k.csv", "train_list_jsfusion.txt")
    train = found.records(_read_ids(train_list), train_list, captions.of, captions.path)
    found.notes += [NO_VALIDATION, MISSING_LABELS, OTHER_GALLERIES]
    splits = {"train": train, "test": _jsfusion_test(found, captions)}
    return found.benchmark("msrvtt-9k", splits, {"train": 9000, "test": 1000})


def msrvtt_7k(found: BenchmarkFolder) -> Benchmark:
    """Read 7,010 clips of train (the official train and val clips), and as test the 1,000 of JSFusion.

    If a folder has only Miech's lists (6,656 of train and another test of 1,000, called 1k-B), these are read, and a
    note says so.
    """
    captions = _read_captions(found)
    miech_train, miech_test = found.find("train_list_miech.txt"), found.find("test_list_miech.txt")
    train_csv = found.find("MSRVTT_train.7k.csv")
    other_train = train_csv or found.find(OFFICIAL_LISTS["train"])
    if other_train is None and miech_train and miech_test:
        found.notes += ["the lists are Miech's (1k-B), not the 7,010 with the JSFusion test", MISSING_LABELS]
        splits = {
            split: found.records(read_list(path), path, captions.of, captions.path)
            for split, path in (("train", miech_train), ("test", miech_test))
        }
        return found.benchmark("msrvtt-7k", splits, {"train": 6656, "test": 1000})
    train_list = found.need("MSRVTT_train.7k.csv", OFFICIAL_LISTS["train"])
    ids = _read_ids(train_list)
    if train_csv is None:
        ids += read_list(found.need(OFFICIAL_LISTS["val"]))
    train = found.records(ids, train_list, captions.of, captions.path)
    found.notes += [NO_VALIDATION, MISSING_LABELS, OTHER_GALLERIES]
    splits = {"train": train, "test": _jsfusion_test(found, captions)}
    return found.benchmark("msrvtt-7k", splits, {"train": 7010, "test": 1000})


def msrvtt_full(found: BenchmarkFolder) -> Benchmark:
    """Read the official splits, 6,513 of train, 497 of val and 2,990 of test, with all captions."""
    captions = _read_captions(found)
    splits: dict[str, tuple[VideoRecord, ...]] = {}
    for split, name in OFFICIAL_LISTS.items():
        path = found.find(name)
        ids = read_list(path) if path else _official_ids(captions, split)
        if ids:
            splits[split] = found.records(ids, path or captions.path, captions.of, captions.path)
    if "test" not in splits:
        raise BadAnnotations(
            f"{captions.path} has no video of the official test split", "video7010 to video9999"
        )
    found.notes.append(MISSING_LABELS)
    return found.benchmark("msrvtt-full", splits, {split: len(ids) for split, ids in OFFICIAL.items()})


def _read_captions(found: BenchmarkFolder) -> _Captions:
    path = found.need(*CAPTION_FILES)
    content = read_json(path, dict)
    for rows, video_key in (("sentences", "video_id"), ("annotations", "image_id")):
        if rows in content:
            captions: dict[str, list[str]] = defaultdict(list)
            try:
                for row in content[rows]:
                    video = str(row[video_key])
                    captions[video].append(caption_of(row["caption"], f"{path}: {video}"))
            except (KeyError, TypeError):
                raise BadAnnotations(
                    f"{path} holds {rows} without {video_key} or caption",
                    f"{rows} of {video_key} and caption",
                ) from None
            return _Captions(path, dict(captions))
    raise BadAnnotations(
        f"{path} holds {', '.join(content)}", "sentences of video_id, or annotations of image_id"
    )


def _read_ids(path: Path) -> list[str]:
    if path.suffix == ".csv":
        return [row["video_id"] for row in read_table(path, ("video_id",))]
    return read_list(path)


def _official_ids(captions: _Captions, split: str) -> list[str]:
    """The ids of an official split that have captions, by their numbers."""
    numbers = OFFICIAL[split]
    return [video for video in captions.of if video[5:].isdigit() and int(video[5:]) in numbers]


def _jsfusion_test(found: BenchmarkFolder, captions: _Captions) -> tuple[VideoRecord, ...]:
    """The test of 1,000 pairs: from its CSV, or from Frozen in Time's list and the number of each video's caption."""
    table = found.find("MSRVTT_JSFUSION_test.csv")
    if table is not None:
        sentences: dict[str, list[str]] = defaultdict(list)
        rows = read_table(table, ("video_id", "sentence"))
        for row in rows:
            sentences[row["video_id"]].append(row["sentence"])
        if len(rows) != len(sentences):
            found.notes.append(f"{table.name} repeats ids: their sentences are captions of one video")
        return found.records(list(sentences), table, sentences, table)
    listed = found.need("MSRVTT_JSFUSION_test.csv", "val_list_jsfusion.txt")
    kept = found.need("jsfusion_val_caption_idx.pkl")
    return found.records(read_list(listed), listed, _kept_captions(captions, kept), kept)


def _kept_captions(captions: _Captions, path: Path) -> dict[str, list[str]]:
    """For each video the one caption whose number the pickle contains."""
    numbers: Any = read_plain_pickle(path)
    try:
        return {
            video: [captions.of[video][int(number)]]
            for video, number in dict(numbers).items()
            if video in captions.of
        }
    except (IndexError, TypeError, ValueError):
        raise BadAnnotations(
            f"{path} does not fit {captions.path}", "the number of one caption for each video"
        ) from None
