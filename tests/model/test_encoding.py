"""Devices, precisions, and one pass below the token shift for equal frames."""

from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.config import ModelConfig
from prost.errors import EmptyQuery, UsageError
from prost.model import encoding
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.encoding import (
    VideoEncoder,
    autocast,
    choose_device,
    encode_text,
    has_fast_bf16,
    join,
    takes_bf16,
)
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import whole_words
from prost.model.ts2net import TS2Net, TS2NetConfig

CPU = torch.device("cpu")
Clips = NDArray[np.uint8]
SHIFT = {"token_shift_blocks": [1], "token_shift_divisions": 5}
BUILD: dict[str, Callable[[dict[str, Any]], RetrievalModel[Any, Any]]] = {
    "ProST": lambda tiny: ProST(ModelConfig.parse({**tiny, **SHIFT}), whole_words(["a", "ball"])),
    "ProST, no shift": lambda tiny: ProST(ModelConfig.parse({**tiny, "token_shift_blocks": []})),
    "ProST, all shifted": lambda tiny: ProST(
        ModelConfig.parse({**tiny, **SHIFT, "token_shift_blocks": [0, 1]})
    ),
    "CLIP4Clip": lambda tiny: CLIP4Clip(CLIP4ClipConfig.parse({**tiny, "temporal": "seqTransf"})),
    "TS2-Net": lambda tiny: TS2Net(TS2NetConfig.parse({**tiny, **SHIFT})),
}


@pytest.fixture(params=list(BUILD))
def model(request: pytest.FixtureRequest, tiny: dict[str, Any]) -> RetrievalModel[Any, Any]:
    torch.manual_seed(0)
    return BUILD[request.param](tiny).eval()


def film(frames: int, seed: int = 0) -> Clips:
    """Frames that all differ, `[N, 32, 32, 3]`."""
    return np.random.default_rng(seed).integers(0, 256, (frames, 32, 32, 3), dtype=np.uint8)


def all_different() -> Clips:
    return film(15).reshape(5, 3, 32, 32, 3)


def windows_that_overlap() -> Clips:
    """Five windows of three frames; each begins with the last frame of the one before."""
    frames = film(11)
    return np.stack([frames[start : start + 3] for start in range(0, 10, 2)])


def a_still_picture() -> Clips:
    return np.repeat(film(1), 15, axis=0).reshape(5, 3, 32, 32, 3)


def one_that_comes_back() -> Clips:
    return film(4)[[0, 1, 0, 2, 2, 1, 3, 3, 3, 0, 1, 2, 1, 0, 3]].reshape(5, 3, 32, 32, 3)


FOOTAGE = [all_different, windows_that_overlap, a_still_picture, one_that_comes_back]


def plain(model: RetrievalModel[Any, Any], clips: Clips) -> Any:
    """Every frame of every clip through the whole tower."""
    with torch.no_grad():
        return model.video_prototypes(model.normalise_pixels(clips))


def expect_close(ours: Any, expected: Any) -> None:
    assert type(ours) is type(expected)
    for one, other in zip(ours.tensors(), expected.tensors(), strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=2e-6)


@pytest.mark.parametrize("footage", FOOTAGE)
@pytest.mark.parametrize("batch_frames", [1, 4, 6, None])
def test_encoding_equals_the_plain_path(
    model: RetrievalModel[Any, Any], footage: Callable[[], Clips], batch_frames: int | None
) -> None:
    clips = footage()
    expect_close(VideoEncoder(model, batch_frames=batch_frames).encode(clips), plain(model, clips))


@pytest.mark.parametrize("footage", FOOTAGE)
@pytest.mark.parametrize("sizes", [[1, 1, 1, 1, 1], [2, 3], [4, 1]])
def test_a_stream_gives_one_record_per_batch_in_order(
    model: RetrievalModel[Any, Any], footage: Callable[[], Clips], sizes: list[int]
) -> None:
    clips = footage()
    ends = np.cumsum(sizes)
    batches = [clips[end - size : end] for size, end in zip(sizes, ends, strict=True)]
    records = list(VideoEncoder(model).stream(batches))
    assert [len(record) for record in records] == sizes
    expect_close(join(records), plain(model, clips))


@pytest.mark.parametrize(
    ("footage", "distinct"), [(all_different, 15), (windows_that_overlap, 11), (a_still_picture, 1)]
)
@pytest.mark.parametrize("clips_per_batch", [1, 2, 5])
def test_equal_frames_pass_the_blocks_below_the_shift_once(
    model: RetrievalModel[Any, Any],
    monkeypatch: pytest.MonkeyPatch,
    footage: Callable[[], Clips],
    distinct: int,
    clips_per_batch: int,
) -> None:
    passed: list[int] = []

    def counted(frames: Tensor) -> Tensor:
        passed.append(len(frames))
        return type(model).below_shift(model, frames)

    monkeypatch.setattr(model, "below_shift", counted)
    clips = footage()
    batches = [clips[first : first + clips_per_batch] for first in range(0, 5, clips_per_batch)]
    list(VideoEncoder(model).stream(batches))
    assert sum(passed) == distinct


def test_a_batch_of_frames_is_never_larger_than_asked(
    model: RetrievalModel[Any, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    passed: list[int] = []

    def counted(frames: Tensor) -> Tensor:
        passed.append(len(frames))
        return type(model).below_shift(model, frames)

    monkeypatch.setattr(model, "below_shift", counted)
    VideoEncoder(model, batch_frames=2).encode(all_different())
    VideoEncoder(model, batch_frames=7).encode(all_different())
    assert passed == [2, 1] * 5 + [6, 6, 3]


def test_training_between_two_calls_changes_the_second(model: RetrievalModel[Any, Any]) -> None:
    encoder, clips = VideoEncoder(model), a_still_picture()
    before = encoder.encode(clips)
    with torch.no_grad():
        model.clip.towers.vision_model.embeddings.class_embedding[0] += 3.0
    after = encoder.encode(clips)
    expect_close(after, plain(model, clips))
    assert not torch.allclose(before.tensors()[0], after.tensors()[0], atol=1e-3)


def test_batches_are_taken_one_at_a_time_on_a_cpu(model: RetrievalModel[Any, Any]) -> None:
    taken: list[int] = []

    def batches() -> Iterator[Clips]:
        for number, clip in enumerate(all_different()):
            taken.append(number)
            yield clip[None]

    stream = VideoEncoder(model).stream(batches())
    next(stream)
    assert taken == [0]


def test_frame_tokens_equal_the_plain_path(model: RetrievalModel[Any, Any]) -> None:
    clips = one_that_comes_back()
    with torch.no_grad():
        expected = model.frame_tokens(model.normalise_pixels(clips))
    tokens = VideoEncoder(model, batch_frames=6).frame_tokens(clips)
    torch.testing.assert_close(tokens, expected, rtol=1e-4, atol=2e-6)


def test_bfloat16_is_for_the_tower_and_the_record_is_float32(model: RetrievalModel[Any, Any]) -> None:
    clips = windows_that_overlap()
    record = VideoEncoder(model, precision="bf16").encode(clips)
    with torch.no_grad(), torch.autocast("cpu", torch.bfloat16):
        tokens = model.frame_tokens(model.normalise_pixels(clips))
    with torch.no_grad():
        expected = model.video_head(tokens.float())
    for one, other in zip(record.tensors(), expected.tensors(), strict=True):
        assert one.dtype == torch.float32
        torch.testing.assert_close(one, other, rtol=0.05, atol=0.05)
    assert not torch.equal(record.tensors()[0], plain(model, clips).tensors()[0])


def test_frames_of_another_form_are_refused(model: RetrievalModel[Any, Any]) -> None:
    encoder = VideoEncoder(model)
    for wrong in (
        np.zeros((1, 3, 32, 32, 3), dtype=np.float32),
        np.zeros((1, 2, 32, 32, 3), dtype=np.uint8),
        np.zeros((1, 3, 3, 32, 32), dtype=np.uint8),
        np.zeros((0, 3, 32, 32, 3), dtype=np.uint8),
    ):
        with pytest.raises(UsageError, match=r"expected: uint8 \[B, 3, 32, 32, 3\]"):
            encoder.encode(wrong)
    with pytest.raises(UsageError, match="1 or more"):
        VideoEncoder(model, batch_frames=0)


def test_sentences_are_encoded_some_at_a_time(tiny: dict[str, Any]) -> None:
    torch.manual_seed(0)
    model = BUILD["ProST"](tiny).eval()
    sentences = ["a ball", "a", "ball", "ball a ball", "a a"]
    expected = model.encode_text(sentences)
    for batch_size in (1, 2, 5, 9):
        expect_close(encode_text(model, sentences, batch_size), expected)
    with pytest.raises(UsageError, match="at least one"):
        encode_text(model, [])
    with pytest.raises(EmptyQuery):
        encode_text(model, ["a ball", " "])


def test_a_device_is_found_by_its_name() -> None:
    assert choose_device("cpu") == CPU
    expected = torch.device("cuda", 0) if torch.cuda.is_available() else CPU
    assert choose_device() == choose_device("auto") == expected


def test_an_unknown_device_is_refused() -> None:
    for name in ("gpu", "cuda:x", "", "xla", "meta"):
        with pytest.raises(UsageError, match="expected: auto, cpu, cuda, cuda:N or mps"):
            choose_device(name)


def test_a_device_that_is_not_there_is_refused() -> None:
    with pytest.raises(UsageError, match=r"this machine has (no|\d+) cuda devices?; expected: a device that"):
        choose_device("cuda:99")
    if not torch.backends.mps.is_available():
        with pytest.raises(UsageError, match="this machine has no mps device"):
            choose_device("mps")


@pytest.mark.parametrize("able", [{"amx_bf16": True}, {"avx512_bf16": True}, {"avx2": True}])
@pytest.mark.parametrize("times_faster", [0.5, 1.1, 4.0])
def test_auto_takes_bf16_where_the_hardware_has_it_and_it_is_faster(
    monkeypatch: pytest.MonkeyPatch, able: dict[str, bool], times_faster: float
) -> None:
    seconds = {torch.float32: 1.0, torch.bfloat16: 1 / times_faster}
    monkeypatch.setattr(torch.cpu, "get_capabilities", lambda: able, raising=False)
    monkeypatch.setattr(encoding, "_product_seconds", seconds.__getitem__)
    has_fast_bf16.cache_clear()
    assert has_fast_bf16(CPU) is takes_bf16("auto", CPU) is ("avx2" not in able and times_faster > 2)
    has_fast_bf16.cache_clear()


def test_an_older_torch_that_does_not_tell_is_taken_at_float32(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(torch.cpu, "get_capabilities", raising=False)
    has_fast_bf16.cache_clear()
    assert not has_fast_bf16(CPU)
    has_fast_bf16.cache_clear()


def test_products_are_timed() -> None:
    assert 0 < encoding._product_seconds(torch.float32) < 60


def test_what_is_asked_for_is_done() -> None:
    layer = torch.nn.Linear(2, 2)
    with autocast("bf16", CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.bfloat16
    with autocast("fp32", CPU):
        assert layer(torch.zeros(1, 2)).dtype == torch.float32
