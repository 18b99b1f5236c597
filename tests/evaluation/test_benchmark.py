"""A gallery from scenes to a report, on models whose answers are known."""

from pathlib import Path

import numpy as np
import pytest
import torch

from prost.config import ModelConfig
from prost.errors import BadConfig, MissingPath
from prost.evaluation.benchmark import evaluate_folder, evaluate_toybox, read_captions, report, twin_accuracy
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST


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


def perfect(videos: int) -> tuple[TextPrototypes, VideoPrototypes]:
    axes = torch.eye(videos)
    return TextPrototypes(axes[:, None], axes), VideoPrototypes(
        axes[:, None, None].repeat(1, 2, 3, 1), axes[:, None]
    )


def test_a_perfect_model(model: ProST) -> None:
    text, video = perfect(8)
    result = report(model, "eight", text, video, [1, 0, *[None] * 6], 90.0)
    for part in result.parts.values():
        assert (part.metrics.r1, part.twin_accuracy, part.interval) == (100.0, 100.0, (100.0, 100.0))
    values = result.to_dict()
    assert values["gallery"] == {"name": "eight", "videos": 8, "twins": 2, "order_blind_ceiling": 90.0}
    assert values["comparisons"]["sum - event_sentence"]["difference"] == 0.0


def test_a_model_that_cannot_tell_anything_is_at_chance(model: ProST) -> None:
    text, video = perfect(8)
    blind = VideoPrototypes(torch.ones_like(video.object), torch.ones_like(video.event))
    part = report(model, "eight", text, blind, [1, 0, *[None] * 6], None).parts["sum"]
    assert (part.metrics.r1, part.metrics.mnr, part.twin_accuracy) == (0.0, 4.5, 50.0)


def test_parts_are_reported_apart(model: ProST) -> None:
    text, video = perfect(8)
    without_events = VideoPrototypes(video.object, torch.ones_like(video.event))
    parts = report(model, "eight", text, without_events, [None] * 8, None).parts
    assert parts["object_phrase"].metrics.r1 == 100.0
    assert parts["event_sentence"].metrics.r1 == 0.0
    assert parts["sum"].twin_accuracy is None


def test_twin_accuracy_counts_a_tie_as_half() -> None:
    scores = np.array([[2.0, 1.0, 0.0], [1.0, 1.0, 0.0], [9.0, 9.0, 0.0]])
    assert twin_accuracy(scores, [1, 0, None]) == 75.0


def test_names_and_folders(untrained_folder: Path, toybox_folder: Path, tmp_path: Path) -> None:
    import prost

    untrained = prost.load(untrained_folder)
    in_memory = evaluate_toybox(untrained, "toybox-10").to_dict()
    assert in_memory["gallery"]["videos"] == 10
    files = evaluate_folder(untrained, toybox_folder).to_dict()
    assert files["gallery"]["videos"] == 8
    with pytest.raises(MissingPath, match="neither a gallery nor a folder"):
        evaluate_toybox(untrained, "msrvtt")
    with pytest.raises(MissingPath, match=r"holds no captions\.jsonl"):
        evaluate_toybox(untrained, str(tmp_path))


def test_captions_that_cannot_be_used_are_named(tmp_path: Path) -> None:
    captions = tmp_path / "captions.jsonl"
    captions.write_text('{"video": "a.mp4", "captions": ["x"]}\n')
    with pytest.raises(MissingPath, match=r"a\.mp4, named in .*captions\.jsonl, is missing"):
        read_captions(tmp_path)
    (tmp_path / "a.mp4").touch()
    captions.write_text('{"video": "a.mp4", "captions": ["x"]}\n{"video": "a.mp4"}\n')
    with pytest.raises(BadConfig, match="line 2 is no captioned video"):
        read_captions(tmp_path)
