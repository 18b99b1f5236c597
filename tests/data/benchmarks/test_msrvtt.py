"""MSR-VTT: both packages, all divisions."""

import pickle

import numpy as np
import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations, MissingPath

SENTENCES = {
    "video0": ["a dog runs", "a hound sprints"],
    "video1": ["a man sings"],
    "video6513": ["a cat sleeps", "a kitten naps"],
    "video7010": ["a car stops", "a vehicle halts", "an auto brakes"],
}


def clip4clip_package(mini: Miniature) -> None:
    rows = [{"video_id": video, "caption": text} for video, texts in SENTENCES.items() for text in texts]
    videos = [{"video_id": video, "url": f"https://example.org/watch?v={video}"} for video in SENTENCES]
    mini.json("msrvtt_data/MSRVTT_data.json", {"info": {}, "sentences": rows, "videos": videos})
    mini.lines("msrvtt_data/MSRVTT_train.9k.csv", "video_id", "video0", "video1", "video6513")
    mini.lines("msrvtt_data/MSRVTT_train.7k.csv", "video_id", "video0", "video6513")
    mini.lines(
        "msrvtt_data/MSRVTT_JSFUSION_test.csv",
        "key,vid_key,video_id,sentence",
        'ret0,msr7010,video7010,"a car, which stops"',
    )
    mini.videos("videos/all/video0.mp4", "videos/all/video1.webm", "videos/all/video7010.mp4")


def frozen_package(mini: Miniature) -> None:
    rows = [{"image_id": video, "caption": text} for video, texts in SENTENCES.items() for text in texts]
    mini.json("annotation/MSR_VTT.json", {"annotations": rows, "images": [{"id": v} for v in SENTENCES]})
    lists = "high-quality/structured-symlinks"
    mini.lines(f"{lists}/train_list_jsfusion.txt", "video0", "video1", "video6513")
    mini.lines(f"{lists}/val_list_jsfusion.txt", "video7010")
    mini.folder.joinpath(lists, "jsfusion_val_caption_idx.pkl").write_bytes(
        pickle.dumps({"video7010": np.int64(2)})
    )
    mini.lines(f"{lists}/train_list_full.txt", "video0", "video1")
    mini.lines(f"{lists}/val_list_full.txt", "video6513")
    mini.lines(f"{lists}/test_list_full.txt", "video7010")
    mini.videos("videos/all/video0.mp4", "videos/all/video7010.mp4")


def ids(benchmark: object, split: str) -> list[str]:
    return [record.video for record in benchmark.splits[split]]  # type: ignore[attr-defined]


def test_9k_as_clip4clip_packs_it(mini: Miniature) -> None:
    clip4clip_package(mini)
    benchmark = load_benchmark("msrvtt-9k", mini.folder)
    assert ids(benchmark, "train") == ["video0", "video1", "video6513"]
    assert benchmark.splits["train"][0].captions == ("a dog runs", "a hound sprints")
    assert [record.captions for record in benchmark.splits["test"]] == [("a car, which stops",)]
    assert benchmark.expected == {"train": 9000, "test": 1000}
    assert (benchmark.frames, benchmark.max_words) == (12, 32)
    paths = [record.path for record in benchmark.splits["train"]]
    assert [path and path.name for path in paths] == ["video0.mp4", "video1.webm", None]
    assert any("missing labels" in note for note in benchmark.notes)
    assert any("879 of these 1,000" in note for note in benchmark.notes)
    assert any("selected on test" in note for note in benchmark.notes)


def test_9k_as_frozen_in_time_packs_it(mini: Miniature) -> None:
    frozen_package(mini)
    benchmark = load_benchmark("msrvtt-9k", mini.folder)
    assert ids(benchmark, "train") == ["video0", "video1", "video6513"]
    # The query of the test video is the one caption that the pickle names.
    assert [record.captions for record in benchmark.splits["test"]] == [("an auto brakes",)]


def test_7k_from_either_package(mini: Miniature) -> None:
    frozen_package(mini)
    assert ids(load_benchmark("msrvtt-7k", mini.folder), "train") == ["video0", "video1", "video6513"]
    clip4clip_package(mini)
    benchmark = load_benchmark("msrvtt-7k", mini.folder)
    assert ids(benchmark, "train") == ["video0", "video6513"]
    assert benchmark.expected == {"train": 7010, "test": 1000}


def test_7k_with_miechs_lists_says_that_they_are_another_split(mini: Miniature) -> None:
    frozen_package(mini)
    for split in ("train", "val", "test"):
        next(mini.folder.rglob(f"{split}_list_full.txt")).unlink()
    mini.lines("train_list_miech.txt", "video0")
    mini.lines("test_list_miech.txt", "video7010")
    benchmark = load_benchmark("msrvtt-7k", mini.folder)
    assert benchmark.expected == {"train": 6656, "test": 1000}
    assert len(benchmark.splits["test"][0].captions) == 3
    assert any("1k-B" in note for note in benchmark.notes)


@pytest.mark.parametrize("package", [clip4clip_package, frozen_package])
def test_full_has_a_validation_split_and_all_captions(package, mini: Miniature) -> None:  # type: ignore[no-untyped-def]
    package(mini)
    benchmark = load_benchmark("msrvtt-full", mini.folder)
    assert {split: ids(benchmark, split) for split in benchmark.splits} == {
        "train": ["video0", "video1"],
        "val": ["video6513"],
        "test": ["video7010"],
    }
    assert len(benchmark.splits["test"][0].captions) == 3
    assert benchmark.expected == {"train": 6513, "val": 497, "test": 2990}


def test_the_schema_is_told_by_what_the_file_holds(mini: Miniature) -> None:
    clip4clip_package(mini)
    mini.json("msrvtt_data/MSRVTT_data.json", {"clips": []})
    with pytest.raises(BadAnnotations, match="holds clips; expected: sentences"):
        load_benchmark("msrvtt-9k", mini.folder)
    mini.json("msrvtt_data/MSRVTT_data.json", {"sentences": [{"video": "video0"}]})
    with pytest.raises(BadAnnotations, match="sentences without video_id"):
        load_benchmark("msrvtt-9k", mini.folder)


def test_a_list_that_does_not_match_the_captions(mini: Miniature) -> None:
    clip4clip_package(mini)
    mini.lines("msrvtt_data/MSRVTT_train.9k.csv", "video_id", "video0", "video55")
    with pytest.raises(BadAnnotations, match=r"1 of 2 videos in .*9k.csv have no caption in .*\(video55"):
        load_benchmark("msrvtt-9k", mini.folder)


def test_what_is_lacking_is_named_beside_what_is_there(mini: Miniature) -> None:
    mini.json("MSRVTT_data.json", {"sentences": [{"video_id": "video0", "caption": "a dog"}]})
    with pytest.raises(MissingPath, match=r"lacks MSRVTT_train.9k.csv \(it contains MSRVTT_data.json\)"):
        load_benchmark("msrvtt-9k", mini.folder)
    with pytest.raises(BadAnnotations, match="no video of the official test split"):
        load_benchmark("msrvtt-full", mini.folder)


def test_a_pickle_of_other_numbers_does_not_fit(mini: Miniature) -> None:
    frozen_package(mini)
    next(mini.folder.rglob("*.pkl")).write_bytes(pickle.dumps({"video7010": 9}))
    with pytest.raises(BadAnnotations, match="does not fit"):
        load_benchmark("msrvtt-9k", mini.folder)
