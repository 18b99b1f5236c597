"""DiDeMo: paragraphs, ids with extensions, both variants."""

import pytest
from tests.data.benchmarks.conftest import Miniature

from prost.data.benchmarks import load_benchmark
from prost.errors import BadAnnotations


def fill(mini: Miniature, variant: str = "", splits: tuple[str, ...] = ("train", "val", "test")) -> None:
    for number, split in enumerate(splits):
        video = f"1028@N0{number}_9.avi"
        mini.lines(f"{split}_list{variant}.txt", video)
        mini.json(
            f"{split}_data{variant}.json",
            [
                {"video": video, "description": "a dog barks ", "times": [[0, 0], [0, 1]]},
                {"video": "elsewhere.mov", "description": "not listed", "times": [[0, 0]]},
                {"video": video, "description": "it runs off", "times": [[4, 5]]},
            ],
        )


def test_the_descriptions_of_a_video_are_one_query(mini: Miniature) -> None:
    fill(mini)
    mini.videos("videos/1028@N00_9.avi", "videos/1028@N02_9.mp4")
    benchmark = load_benchmark("didemo", mini.folder)
    assert list(benchmark.splits) == ["train", "val", "test"]
    (record,) = benchmark.splits["train"]
    assert record.video == "1028@N00_9.avi"
    assert record.captions == ("a dog barks it runs off",)
    assert (record.start, record.end) == (0.0, 31.0)
    assert (benchmark.frames, benchmark.max_words) == (64, 64)
    assert benchmark.expected == {"train": 8395, "val": 1065, "test": 1004}
    # The id names one extension; a file that was encoded anew has another.
    found = [benchmark.splits[split][0].path for split in ("train", "val", "test")]
    assert [path and path.name for path in found] == ["1028@N00_9.avi", None, "1028@N02_9.mp4"]


def test_the_variant_of_prosts_authors(mini: Miniature) -> None:
    fill(mini, "_mp4", ("train", "test"))
    benchmark = load_benchmark("didemo-prost", mini.folder)
    assert benchmark.expected == {"train": 8392, "test": 1004}
    assert any("selected on test" in note for note in benchmark.notes)


def test_lists_and_descriptions_may_name_other_extensions(mini: Miniature) -> None:
    fill(mini)
    mini.lines("test_list.txt", "1028@N02_9.mp4")
    (record,) = load_benchmark("didemo", mini.folder).splits["test"]
    assert (record.video, record.captions) == ("1028@N02_9.mp4", ("a dog barks it runs off",))


def test_a_row_without_description(mini: Miniature) -> None:
    fill(mini)
    mini.json("val_data.json", [{"video": "a.mp4", "times": []}])
    with pytest.raises(BadAnnotations, match=r"val_data\.json holds a row without video or description"):
        load_benchmark("didemo", mini.folder)
