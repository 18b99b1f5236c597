"""Cached frame tokens are the model's own, for every architecture; a file is named after all that it depends on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prost.data.clip_sets import ToyboxClipSet
from prost.data.toybox_clips import ClipMix
from prost.errors import BadConfig, StorageError
from prost.model.retrieval_model import VISION_TOWER, RetrievalModel
from prost.training.distributed import Processes
from prost.training.frame_token_cache import FrameTokenCache, open_cache
from prost.training.freezing import freeze

MakeModel = Callable[..., RetrievalModel[Any, Any]]
ALONE = Processes(0, 1, torch.device("cpu"))
MIX = ClipMix(moments=0.5, twins=0.4, long=0.0)
CLIPS = ToyboxClipSet.drawn(6, MIX)


def cached(model: RetrievalModel[Any, Any], place: str, clips: ToyboxClipSet = CLIPS) -> FrameTokenCache:
    return open_cache(model, clips, place, "fp32", ALONE, lambda done, total, _: None)


@pytest.mark.parametrize("kind", ["prost", "seqTransf", "ts2net"])
def test_the_head_makes_of_cached_tokens_what_the_model_makes_of_pixels(
    make_model: MakeModel, kind: str
) -> None:
    model = make_model(kind).eval()
    freeze(model, VISION_TOWER)
    cache = cached(model, "memory")
    assert cache.tokens.dtype == np.float16
    assert cache.tokens.shape == (6, 3, 1 if kind == "seqTransf" else 5, 64)
    plan = CLIPS.plan(4, seed=1)
    (pixels,) = CLIPS.batches(range(2, 3), plan, slice(None), frames=3, size=32)
    (tokens,) = cache.batches(range(2, 3), plan, slice(None))
    assert (tokens.captions, tokens.videos) == (pixels.captions, pixels.videos)
    assert tokens.twins.tolist() == pixels.twins.tolist()
    with torch.no_grad():
        expected = model.video_prototypes(model.normalise_pixels(pixels.pixels))
        found = model.video_head(tokens.tokens.float())
    for one, other in zip(found.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)


def test_a_folder_is_computed_once_for_all_heads_on_one_tower(make_model: MakeModel, tmp_path: Path) -> None:
    told: list[tuple[int, int]] = []
    first, second = make_model("prost"), make_model("ts2net")
    second.clip.load_state_dict(first.clip.state_dict())
    for model in (first, second):
        freeze(model, VISION_TOWER)
        cache = open_cache(
            model, CLIPS, str(tmp_path), "fp32", ALONE, lambda done, total, _: told.append((done, total))
        )
        assert isinstance(cache.tokens, np.memmap)
    assert told == [(6, 6)]
    assert len(list(tmp_path.iterdir())) == 1


def test_another_tower_or_other_clips_are_another_file(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("prost")
    freeze(model, VISION_TOWER)
    cached(model, str(tmp_path))
    with torch.no_grad():
        model.clip.towers.vision_model.post_layernorm.weight.mul_(1.5)
    other = cached(model, str(tmp_path))
    cached(model, str(tmp_path), ToyboxClipSet.drawn(7, MIX))
    cached(freezing(make_model("meanP")), str(tmp_path))
    assert len(list(tmp_path.iterdir())) == 4
    with torch.no_grad():
        _, pixels = next(CLIPS.blocks(frames=3, size=32))
        expected = model.frame_tokens(model.normalise_pixels(pixels))
    torch.testing.assert_close(
        torch.from_numpy(np.array(other.tokens)).float(), expected, atol=5e-3, rtol=5e-3
    )


def freezing(model: RetrievalModel[Any, Any]) -> RetrievalModel[Any, Any]:
    freeze(model, VISION_TOWER)
    return model


def test_what_is_trained_is_not_cached(make_model: MakeModel) -> None:
    with pytest.raises(
        BadConfig, match=r"the vision tower is trained; expected: freeze: \[clip.towers.vision_model"
    ):
        cached(make_model("prost"), "memory")


def test_several_processes_share_a_folder_not_memory(make_model: MakeModel) -> None:
    with pytest.raises(BadConfig, match=r"memory, in 2 processes; expected: a folder"):
        open_cache(
            freezing(make_model("prost")),
            CLIPS,
            "memory",
            "fp32",
            Processes(0, 2, ALONE.device),
            lambda *_: None,
        )


def test_no_half_file_is_left(make_model: MakeModel, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be kept"):
        cached(freezing(make_model("prost")), str(tmp_path / "file"))

    def fail(done: int, total: int, _: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        open_cache(freezing(make_model("prost")), CLIPS, str(tmp_path / "cache"), "fp32", ALONE, fail)
    assert list((tmp_path / "cache").iterdir()) == []
