"""Cached frame tokens are the model's own, for every architecture; they are looked up by all that they depend on."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prost.data.clip_sets import ToyboxClipSet
from prost.data.frame_tokens import FrameTokenCache
from prost.data.toybox_clips import ClipMix
from prost.errors import StorageError
from prost.model.retrieval_model import RetrievalModel

MakeModel = Callable[..., RetrievalModel[Any, Any]]
MIX = ClipMix(moments=0.5, twins=0.4, long=0.0)
CLIPS = ToyboxClipSet.drawn(6, MIX)


class Counted(ToyboxClipSet):
    """Counts how often its pixels are read."""

    read = 0

    def blocks(self, *, frames: int, size: int) -> Any:
        self.read += 1
        return super().blocks(frames=frames, size=size)


@pytest.mark.parametrize("kind", ["prost", "seqTransf", "ts2net"])
def test_the_head_makes_of_cached_tokens_what_the_model_makes_of_pixels(
    make_model: MakeModel,
    kind: str,
) -> None:
    model = make_model(kind).eval()
    cached = FrameTokenCache().of(model, CLIPS)
    assert cached.tokens.dtype == np.float16
    assert cached.tokens.shape == (6, 3, 1 if kind == "seqTransf" else 5, 64)
    plan = CLIPS.plan(4, seed=1)
    (pixels,) = CLIPS.batches(range(2, 3), plan, slice(None), frames=3, size=32)
    (tokens,) = cached.batches(range(2, 3), plan, slice(None))
    assert (tokens.captions, tokens.videos) == (pixels.captions, pixels.videos)
    assert tokens.twins.tolist() == pixels.twins.tolist()
    with torch.no_grad():
        expected = model.video_prototypes(model.normalise_pixels(pixels.pixels))
        found = model.video_head(tokens.tokens.float())
    for one, other in zip(found.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(one, other, atol=5e-3, rtol=5e-3)


@pytest.mark.parametrize("place", ["memory", "folder"])
def test_tokens_are_computed_once_for_all_heads_on_one_tower(
    make_model: MakeModel,
    tmp_path: Path,
    place: str,
) -> None:
    clips = Counted.drawn(6, MIX)
    progress: list[tuple[int, int, str]] = []
    first, second = make_model("prost").eval(), make_model("ts2net").eval()
    second.clip.load_state_dict(first.clip.state_dict())
    cache = FrameTokenCache(tmp_path if place == "folder" else None, dtype=np.float32)
    one, other = (
        cache.of(model, clips, progress=lambda *values: progress.append(values)) for model in (first, second)
    )
    assert clips.read == 1 and progress == [(6, 6, "toybox clip 5")]
    assert np.array_equal(one.tokens, other.tokens) and one.tokens.dtype == np.float32
    assert isinstance(one.tokens, np.memmap) == (place == "folder")
    assert len(list(tmp_path.iterdir())) == (place == "folder")


@pytest.mark.parametrize("kept", [0, 40, -8])
def test_a_damaged_file_is_named(make_model: MakeModel, tmp_path: Path, kept: int) -> None:
    model = make_model("prost").eval()
    FrameTokenCache(tmp_path).of(model, CLIPS)
    (path,) = tmp_path.glob("*.npy")
    path.write_bytes(path.read_bytes()[:kept])
    with pytest.raises(StorageError, match=r"npy is damaged .*; try: delete it"):
        FrameTokenCache(tmp_path).of(model, CLIPS)


def test_another_tower_or_other_clips_are_another_file(make_model: MakeModel, tmp_path: Path) -> None:
    model, cache = make_model("prost").eval(), FrameTokenCache(tmp_path)
    cache.of(model, CLIPS)
    with torch.no_grad():
        model.clip.towers.vision_model.post_layernorm.weight.mul_(1.5)
    changed = cache.of(model, CLIPS)
    cache.of(model, ToyboxClipSet.drawn(7, MIX))
    cache.of(make_model("meanP").eval(), CLIPS)
    FrameTokenCache(tmp_path, dtype=np.float32).of(model, CLIPS)
    assert len(list(tmp_path.iterdir())) == 5
    with torch.no_grad():
        _, pixels = next(CLIPS.blocks(frames=3, size=32))
        expected = model.frame_tokens(model.normalise_pixels(pixels))
    torch.testing.assert_close(
        torch.from_numpy(np.array(changed.tokens)).float(), expected, atol=5e-3, rtol=5e-3
    )


def test_clips_that_are_read_in_another_order_keep_their_places(
    make_model: MakeModel, tmp_path: Path
) -> None:
    class Backwards(ToyboxClipSet):
        def blocks(self, *, frames: int, size: int) -> Any:
            for places, pixels in super().blocks(frames=frames, size=size):
                yield places[::-1].copy(), pixels[::-1].copy()

    model = make_model("meanP").eval()
    backwards = Backwards.drawn(6, MIX)
    for cache in (FrameTokenCache(), FrameTokenCache(tmp_path)):
        np.testing.assert_allclose(
            cache.of(model, backwards).tokens, FrameTokenCache().of(model, CLIPS).tokens, atol=1e-3
        )


def test_memory_keeps_the_sets_that_were_used_last(make_model: MakeModel) -> None:
    model, cache = make_model("meanP").eval(), FrameTokenCache(most=2)
    sets = [Counted.drawn(count, MIX) for count in (3, 4, 5)]
    for index in (0, 1, 0, 2, 0, 1):
        cache.of(model, sets[index])
    assert [clips.read for clips in sets] == [1, 2, 1]


def test_no_half_file_is_left(make_model: MakeModel, tmp_path: Path) -> None:
    model = make_model("prost").eval()
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        FrameTokenCache(tmp_path / "file").of(model, CLIPS)

    def fail(done: int, total: int, _: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        FrameTokenCache(tmp_path / "cache").of(model, CLIPS, progress=fail)
    assert not (tmp_path / "cache").exists() or list((tmp_path / "cache").iterdir()) == []
