"""A set from captions and pixels to a report, on models whose answers are known, for all architectures."""

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import prost
from prost.config import ModelConfig
from prost.data.benchmarks import load_benchmark
from prost.data.clip_sets import ToyboxClipSet
from prost.data.frame_tokens import FrameTokenCache
from prost.data.records import Benchmark, VideoRecord
from prost.data.toybox import gallery, long_gallery, read_captions
from prost.errors import MissingPath, ProstError, UsageError
from prost.evaluation.benchmark import (
    TEMPERATURES,
    encode_clips,
    evaluate_features,
    evaluate_set,
    match_scores,
    training_seed,
    tuned_plan,
    twin_accuracy,
)
from prost.evaluation.machine import machine_line
from prost.evaluation.metrics import text_to_video_ranks
from prost.evaluation.post_processing import inverted_softmax
from prost.evaluation.report_tables import report_tables
from prost.evaluation.rows import METHODS, RankingPlan
from prost.evaluation.sets import (
    EvaluationSet,
    SetConfig,
    benchmark_set,
    folder_set,
    gallery_set,
    open_set,
    records_set,
)
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST

QUICK = RankingPlan(samples=20)


@pytest.fixture
def model() -> ProST:
    values = {
        "clip": {
            "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
            "text_layers": 1, "vocabulary": 5, "text_positions": 8,
        },
        "width": 8, "frames": 2, "max_words": 8, "token_shift_blocks": [], "object_phrase_weight": 1.5,
    }  # fmt: skip
    return ProST(ModelConfig.parse(values)).eval()


def eight(twin: tuple[int | None, ...] = (), ceiling: float | None = None) -> EvaluationSet:
    names = tuple(f"video {place}" for place in range(8))
    return EvaluationSet(
        name="eight",
        split="test",
        videos=names,
        captions=names,
        video_of_caption=np.arange(8),
        clips=ToyboxClipSet([], description="none"),
        twin=twin,
        order_blind_ceiling=ceiling,
    )


def perfect(videos: int) -> tuple[TextPrototypes, VideoPrototypes]:
    axes = torch.eye(videos)
    return TextPrototypes(axes[:, None], axes), VideoPrototypes(
        axes[:, None, None].repeat(1, 2, 3, 1), axes[:, None]
    )


def test_a_perfect_model(model: ProST) -> None:
    text, video = perfect(8)
    result = evaluate_features(model, text, video, eight((1, 0, *[None] * 6), 90.0), QUICK)
    for part in result.parts.values():
        assert (part.metrics.r1, part.twin_accuracy) == (100.0, 100.0)
        # 8 of 8: the exact binomial interval, since resampling only ever gives 100.
        assert part.interval == (pytest.approx(100 * 0.025 ** (1 / 8)), 100.0)
    for row in result.rows:
        assert row.values["R@1"] == 100.0, row.key
    values = result.to_dict()
    assert values["gallery"] == {"name": "eight", "videos": 8, "twins": 2, "order_blind_ceiling": 90.0}
    assert values["comparisons"]["sum - event_sentence"]["difference"] == 0.0
    assert values["setting"]["temperature"] == pytest.approx(0.07)


def test_a_model_that_cannot_tell_anything_is_at_chance(model: ProST) -> None:
    text, video = perfect(8)
    blind = VideoPrototypes(torch.ones_like(video.object), torch.ones_like(video.event))
    part = evaluate_features(model, text, blind, eight((1, 0, *[None] * 6)), QUICK).parts["sum"]
    assert (part.metrics.r1, part.metrics.mnr, part.twin_accuracy) == (0.0, 4.5, 50.0)


def test_parts_are_reported_apart(model: ProST) -> None:
    text, video = perfect(8)
    without_events = VideoPrototypes(video.object, torch.ones_like(video.event))
    parts = evaluate_features(model, text, without_events, eight(), QUICK).parts
    assert parts["object_phrase"].metrics.r1 == 100.0
    assert parts["event_sentence"].metrics.r1 == 0.0
    assert parts["sum"].twin_accuracy is None


def test_numbers_that_are_not_finite_are_no_ranks(model: ProST) -> None:
    text, video = perfect(8)
    video.event[3, 0, 2] = torch.nan
    with pytest.raises(ProstError, match=r"the score of query \d and item 3 is nan"):
        evaluate_features(model, text, video, eight(), QUICK)


def test_twin_accuracy_counts_a_tie_as_half() -> None:
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [9.0, 9.0, 0.0]])
    assert twin_accuracy(scores, [1, 0, None]) == 75.0


@pytest.fixture(scope="module")
def toy(untrained_folder: Path) -> Any:
    return prost.load(untrained_folder)


def test_a_gallerys_name_wins_over_a_folder_of_that_name(
    toybox_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for name in ("toybox-10", "toybox-old"):
        Path(name).symlink_to(toybox_folder)
    assert len(open_set(SetConfig(name="toybox-10", bank=0)).videos) == 10
    assert len(open_set(SetConfig(name="./toybox-10", bank=0)).videos) == 8
    assert len(open_set(SetConfig(name="toybox-old", bank=0)).videos) == 8


def test_names_and_folders(toy: Any, toybox_folder: Path, tmp_path: Path) -> None:
    plan = RankingPlan(methods=(), directions=("text_to_video",), samples=20)
    report = evaluate_set(toy, open_set(SetConfig(name="toybox-10", split="val")), plan)
    assert [row.key for row in report.rows] == [
        f"{score}/text_to_video/none" for score in ("sum", "event_sentence", "object_phrase")
    ]
    assert report.setting.split == "val" and not any("left out" in note for note in report.setting.notes)
    files = evaluate_set(toy, open_set(SetConfig(name=str(toybox_folder), bank=5)), QUICK)
    assert files.setting.videos == 8 and files.twins == 0 and files.setting.bank_captions == 5
    with pytest.raises(MissingPath, match="neither a gallery nor a folder nor a benchmark"):
        open_set(SetConfig(name="msrvtt"))
    with pytest.raises(UsageError, match="--folder"):
        open_set(SetConfig(name="msrvtt-9k"))
    with pytest.raises(MissingPath, match=r"holds no captions\.jsonl"):
        folder_set(tmp_path)


def test_clips_of_long_videos_are_cut_from_them(toy: Any) -> None:
    data = open_set(SetConfig(name="toybox-long-10", bank=0))
    assert isinstance(data.clips, ToyboxClipSet)
    for clip, excerpt in zip(data.clips.clips, long_gallery("toybox-long-10").excerpts, strict=True):
        assert (clip.scene, clip.start, clip.end) == (excerpt.scene, excerpt.start, excerpt.end)
        assert clip.end - clip.start < clip.scene.duration
    assert any(note.startswith("10 clips of ") for note in data.notes)
    report = evaluate_set(toy, data, RankingPlan(methods=(), directions=("text_to_video",), samples=20))
    assert (report.setting.videos, report.setting.captions, report.twins) == (10, 10, 0)
    assert set(report.row().values) >= {"R@1", "R@5", "R@10", "MdR", "MnR"}
    videos = report.row().videos.tolist()
    scenes = [clip.scene for clip in data.clips.clips]
    assert [videos[i] == videos[j] for i in range(10) for j in range(10)] == [
        scenes[i] == scenes[j] for i in range(10) for j in range(10)
    ]
    assert len(set(videos)) < 10 and any("draws the long videos" in n for n in data.notes)
    assert gallery_set(gallery("toybox-10")).source_of_video is None


def test_a_bank_of_training_captions_and_videos(toy: Any) -> None:
    data = gallery_set(gallery("toybox-10"), bank_captions=40, bank_videos=12)
    report = evaluate_set(toy, data, QUICK)
    assert (report.setting.bank_captions, report.setting.bank_videos) == (40, 12)
    assert {row.post_processing for row in report.rows} == {"none", *METHODS}
    assert report.row("sum", "video_to_text_strict", "nnn").parameters["bank"] == 12
    assert not set(data.bank.captions) & set(data.captions)


def test_cached_tokens_change_no_number_and_are_read_once(toy: Any) -> None:
    data = gallery_set(gallery("toybox-10"))
    readings = []

    class Counted(ToyboxClipSet):
        def blocks(self, *, frames: int, size: int) -> Any:
            readings.append(size)
            return super().blocks(frames=frames, size=size)

    clips = Counted.of_gallery(gallery("toybox-10"), "test")
    counted, cache = replace(data, clips=clips), FrameTokenCache(dtype=np.float32)
    reports = [evaluate_set(toy, counted, QUICK, cache=cache) for _ in range(2)]
    plain = evaluate_set(toy, data, QUICK)
    assert readings == [32]
    for report in reports:
        for row, other in zip(report.rows, plain.rows, strict=True):
            np.testing.assert_array_equal(row.ranks, other.ranks)


@pytest.fixture
def pairs(toybox_folder: Path, tmp_path: Path) -> Benchmark:
    """Own pairs: real files, the first with three captions, the second with two, the others with one."""
    names = [row["video"] for row in read_captions(toybox_folder)][:4]
    captions = [(names[0], "a red ball"), (names[0], "a ball falls"), (names[0], "a thing"), (names[1], "a blue boat"),
                (names[1], "a boat"), (names[2], "a green tree"), (names[3], "a cat")]  # fmt: skip
    lines = ["video,caption,split", *(f"{video},{caption},test" for video, caption in captions)]
    (tmp_path / "pairs.csv").write_text("\n".join(lines) + "\n")
    return load_benchmark("pairs", tmp_path / "pairs.csv", toybox_folder)


def test_several_captions_a_video_in_the_whole_path(toy: Any, pairs: Benchmark) -> None:
    report = evaluate_set(toy, benchmark_set(pairs), QUICK)
    assert (report.setting.videos, report.setting.captions) == (4, 7)
    expected = {"text_to_video": (7, 4), "video_to_text_clip4clip": (4, 4), "video_to_text_strict": (4, 7)}
    for direction, (queries, size) in expected.items():
        row = report.row("sum", direction)
        assert (len(row.ranks), row.gallery) == (queries, size)
    assert report.row().videos.tolist() == [0, 0, 0, 1, 1, 2, 3]
    assert report.row("sum", "text_to_video", "hungarian").parameters == {"places": 7}
    assert len(report_tables(report)) == 3


def test_a_gallery_does_not_shrink_in_silence(toy: Any, pairs: Benchmark) -> None:
    records = pairs.splits["test"]
    gone = replace(pairs, splits={"test": (*records[:3], VideoRecord("away", None, ("a dog",)))})
    with pytest.raises(UsageError, match="1 video of 4 in the test split"):
        benchmark_set(gone)
    data = benchmark_set(gone, allow_missing=True)
    assert any("not the published gallery: 3 of 4 videos" in note for note in data.notes)
    assert any("3 videos of 4" in line for line in evaluate_set(toy, data, QUICK).setting.lines())
    broken = replace(pairs, splits={"test": (*records[:3], VideoRecord("b", pairs.folder, ("a dog",)))})
    with pytest.raises(ProstError):
        evaluate_set(toy, benchmark_set(broken), QUICK)


def test_queries_that_say_nothing_are_told(pairs: Benchmark) -> None:
    first, *others = pairs.splits["test"]
    vague = replace(pairs, splits={"test": (replace(first, captions=("it is there", "a ball")), *others)})
    assert "1 of 6 queries consist of stop words only, such as 'it is there'" in benchmark_set(vague).notes
    assert not any("stop words" in note for note in benchmark_set(pairs).notes)


def test_the_authors_sampling_sees_other_frames(toy: Any, pairs: Benchmark) -> None:
    middles, authors = (benchmark_set(pairs, sampling=way) for way in ("middles", "authors"))
    ((_, one), (_, other)) = (next(data.clips.blocks(frames=4, size=32)) for data in (middles, authors))
    assert one.shape == other.shape == (4, 4, 32, 32, 3)
    assert all(not np.array_equal(*clips) for clips in zip(one, other, strict=True))
    assert "one frame a second" in evaluate_set(toy, authors, QUICK).setting.sampling


def test_a_setting_that_is_not_the_paper_s_is_told(toy: Any, pairs: Benchmark) -> None:
    notes = evaluate_set(toy, benchmark_set(replace(pairs, frames=64)), QUICK).setting.notes
    assert "the paper's setting has 64 frames, this model 4" in notes


def test_the_seed_of_a_training_stands_beside_its_model(tmp_path: Path) -> None:
    assert training_seed(str(tmp_path)) is None
    assert training_seed("toybox") is None
    (tmp_path / "training.json").write_text('{"recipe": {"seed": 7}}')
    assert training_seed(str(tmp_path)) == 7


def test_scores_are_those_of_the_plain_path(toy: Any, toybox_folder: Path) -> None:
    """The encoder in batches, from files in several processes, gives what the model gives for each file alone."""
    data = folder_set(toybox_folder)
    report = evaluate_set(toy, data, RankingPlan(methods=(), samples=20))
    video = toy.encode_video([toybox_folder / name for name in data.videos])
    expected = toy.match(toy.encode_text(data.captions), video)
    assert report.scores is not None
    np.testing.assert_allclose(report.scores["sum"], expected.total.numpy(), atol=1e-5)
    np.testing.assert_allclose(report.scores["object_phrase"], expected.object_phrase.numpy(), atol=1e-5)


def test_the_clips_of_one_file_keep_their_places(toy: Any, toybox_folder: Path) -> None:
    """Clips of two files in turn: each file is read once, and the scores come in the order of the records."""
    paths = sorted(toybox_folder.glob("*.mp4"))[:2]
    records = [
        VideoRecord(f"{path.stem}@{start}", path, ("a ball",), start, start + 0.5)
        for start in (0.0, 0.5, 1.0)
        for path in paths
    ]
    together = evaluate_set(toy, records_set(records, name="clips", split="test"), QUICK).scores
    assert together is not None
    for place, record in enumerate(records):
        alone = evaluate_set(toy, records_set([record], name="clips", split="test"), QUICK).scores
        assert alone is not None
        np.testing.assert_allclose(together["sum"][place, place], alone["sum"][0, 0], atol=1e-5)


def test_the_temperature_of_the_inverted_softmax_is_stated(model: ProST) -> None:
    text, video = perfect(8)
    own = evaluate_features(model, text, video, eight(), QUICK)
    assert own.row(post_processing="inverted_softmax").parameters["temperature"] == pytest.approx(0.07)
    assert "temperature of the inverted softmax: 0.07, the model's own" in own.setting.lines()
    plan = replace(QUICK, temperature=0.5, temperature_source="given")
    given = evaluate_features(model, text, video, eight(), plan)
    assert given.row(post_processing="inverted_softmax").parameters["temperature"] == 0.5
    assert "temperature of the inverted softmax: 0.5, given" in given.setting.lines()


def test_a_temperature_is_tuned_on_validation_only(toy: Any) -> None:
    val = gallery_set(gallery("toybox-20", split="val"), split="val")
    tuned = tuned_plan(toy, val, QUICK)
    assert tuned.temperature in TEMPERATURES
    assert tuned.temperature_source == "tuned on toybox-20, val split, of 20 videos"
    scores = match_scores(toy, toy.encode_text(val.captions), encode_clips(toy, val.clips))["sum"]
    found = {t: text_to_video_ranks(inverted_softmax(scores, t).scores, range(20)) for t in TEMPERATURES}
    best = max(reversed(found), key=lambda t: (np.mean(found[t] <= 1), -found[t].mean()))
    assert tuned.temperature == best
    with pytest.raises(UsageError, match="tuned on the test split"):
        tuned_plan(toy, gallery_set(gallery("toybox-20")), QUICK)


def test_the_machine_of_a_report_is_that_of_the_model(model: ProST) -> None:
    text, video = perfect(8)
    setting = evaluate_features(model, text, video, eight(), QUICK).setting
    assert setting.machine == machine_line(torch.device("cpu"))
    assert f"computed on {setting.machine}, vision tower in fp32" in setting.lines()


def test_clips_of_one_file_are_drawn_together(toybox_folder: Path) -> None:
    first, second = sorted(toybox_folder.glob("*.mp4"))[:2]
    records = [
        VideoRecord("a@0-1", first, ("a ball",), 0.0, 1.0),
        VideoRecord("b", second, ("a cube",)),
        VideoRecord("a@1-2", first, ("a cone",), 1.0, 2.0),
    ]
    source = records_set(records, name="clips", split="test").source_of_video
    assert source is not None and source.tolist() == [0, 1, 0]
    assert records_set(records[:2], name="videos", split="test").source_of_video is None
