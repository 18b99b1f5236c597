"""The interface of every model, on real files and sentences."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from prost.config import ModelConfig
from prost.errors import MissingPath, NeedsTokenizer, UsageError, VideoError
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.encoding import join
from prost.model.matching import TextPrototypes, match
from prost.model.prost import ProST
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures
from prost.model.tokenizer import whole_words
from prost.model.ts2net import TS2Net, TS2NetConfig
from prost.video.decode import decode_frames
from prost.video.probe import probe
from prost.video.sampling import sample_times

WORDS = ["a", "red", "ball", "falls", "blue", "boat", "sails", "left", "."]


@pytest.fixture(params=["clip4clip", "ts2net"])
def model(request: pytest.FixtureRequest, tiny: dict[str, Any]) -> CLIP4Clip | TS2Net:
    torch.manual_seed(0)
    tokenizer = whole_words(WORDS)
    if request.param == "clip4clip":
        return CLIP4Clip(CLIP4ClipConfig.parse(tiny), tokenizer).eval()
    shift = {"token_shift_blocks": [1], "token_shift_divisions": 5}
    return TS2Net(TS2NetConfig.parse({**tiny, **shift}), tokenizer).eval()


def test_from_files_and_sentences_to_scores(model: CLIP4Clip | TS2Net, toybox_folder: Path) -> None:
    paths = sorted(toybox_folder.glob("*.mp4"))[:2]
    text, video = model.encode_text(["a red ball falls", "a blue boat"]), model.encode_video(paths)
    assert repr(text) == "SentenceFeatures(sentence=[2, 64])"
    assert repr(video) == "FrameFeatures(frame=[2, 3, 64])"
    total = model.match(text, video).total
    assert total.shape == (2, 2)
    assert total.abs().max() <= 1


def test_videos_are_encoded_in_the_order_given_in_any_number(
    model: CLIP4Clip | TS2Net, toybox_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    paths = sorted(toybox_folder.glob("*.mp4"))[:5][::-1]
    monkeypatch.setattr("prost.model.encoding.CPU_BATCH_FRAMES", 6)  # two clips a batch
    record = model.encode_video(paths)
    for path, own in zip(paths, record.frame, strict=True):
        frames = decode_frames(path, sample_times(0.0, probe(path).duration, 3), 32).pixels
        with torch.no_grad():
            expected = model.video_prototypes(model.normalise_pixels(frames[None])).frame[0]
        torch.testing.assert_close(own, expected, rtol=1e-4, atol=2e-6)


def test_a_file_that_cannot_be_shown_is_named(
    model: CLIP4Clip | TS2Net, toybox_folder: Path, tmp_path: Path
) -> None:
    (tmp_path / "text.mp4").write_text("no video")
    with pytest.raises(VideoError, match=r"text\.mp4"):
        model.encode_video([*sorted(toybox_folder.glob("*.mp4"))[:1], tmp_path / "text.mp4"])


def test_encoding_is_tokenising_and_text_prototypes(model: CLIP4Clip | TS2Net) -> None:
    sentences = ["a red ball falls", "a blue boat sails left"]
    ids, mask = model.tokenize(sentences)
    assert ids.shape == mask.shape == (2, 8)
    with torch.no_grad():
        by_ids = model.text_prototypes(ids, mask)
    torch.testing.assert_close(model.encode_text(sentences).sentence, by_ids.sentence)
    assert model.count_words(sentences[1]) == 7


def test_pixels_are_normalised_as_clip_wants(model: CLIP4Clip | TS2Net) -> None:
    frames = np.random.default_rng(0).integers(0, 256, (2, 3, 4, 5, 3), dtype=np.uint8)
    pixels = model.normalise_pixels(frames)
    assert pixels.shape == (2, 3, 3, 4, 5)
    mean, std = model.config.image_mean[1], model.config.image_std[1]
    assert pixels[1, 2, 1, 3, 4].item() == pytest.approx((frames[1, 2, 3, 4, 1] / 255 - mean) / std, abs=1e-5)


def test_without_a_vocabulary_text_is_refused(tiny: dict[str, Any]) -> None:
    with pytest.raises(NeedsTokenizer, match="ids of tokens"):
        CLIP4Clip(CLIP4ClipConfig.parse(tiny)).encode_text(["a ball"])


def test_no_video_is_refused(model: CLIP4Clip | TS2Net) -> None:
    with pytest.raises(UsageError, match="at least one path"):
        model.encode_video([])


def test_what_is_not_in_a_list_is_refused(model: CLIP4Clip | TS2Net, toybox_folder: Path) -> None:
    """A string is a sequence of strings, too: its letters would be encoded."""
    with pytest.raises(UsageError, match="'a ball' instead of sentences; expected: a list"):
        model.encode_text("a ball")
    for path in (toybox_folder / "toy-0000.mp4", str(toybox_folder / "toy-0000.mp4")):
        with pytest.raises(UsageError, match="instead of paths; expected: a list"):
            model.encode_video(path)  # type: ignore[arg-type]


def test_records_of_another_kind_or_order_are_refused(model: CLIP4Clip | TS2Net) -> None:
    sentences, frames = SentenceFeatures(torch.randn(2, 8)), FrameFeatures(torch.randn(3, 2, 8))
    prototypes = TextPrototypes(torch.randn(2, 4, 8), torch.randn(2, 8))
    with pytest.raises(
        UsageError, match="FrameFeatures against SentenceFeatures; expected: SentenceFeatures against"
    ):
        model.match(frames, sentences)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="TextPrototypes against FrameFeatures; expected: SentenceFeatures"):
        model.match(prototypes, frames)  # type: ignore[arg-type]
    with pytest.raises(
        UsageError, match=r"TextPrototypes against FrameFeatures; expected: .* VideoPrototypes"
    ):
        match(prototypes, frames)  # type: ignore[arg-type]


def test_a_path_that_leads_nowhere(
    model: CLIP4Clip | TS2Net, toybox_folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(MissingPath, match=r"no\.mp4 does not exist"):
        model.encode_video(["no.mp4"])
    monkeypatch.setenv("HOME", str(toybox_folder))
    name = min(toybox_folder.glob("*.mp4")).name
    assert len(model.encode_video([f"~/{name}"])) == 1


def test_records_are_cut_and_joined() -> None:
    frames = FrameFeatures(torch.randn(5, 3, 8))
    assert torch.equal(join([frames[:2], frames[2:]]).frame, frames.frame)
    assert len(frames[torch.tensor([0, 4])]) == 2
    with pytest.raises(UsageError, match=r"\[B, L, D\]"):
        FrameFeatures(torch.zeros(5, 8))
    with pytest.raises(UsageError, match=r"\[B, D\]"):
        SentenceFeatures(torch.zeros(5))


def test_a_vision_fingerprint_is_what_frame_tokens_depend_on(tiny: dict[str, Any]) -> None:
    shift = {"token_shift_blocks": [1], "token_shift_divisions": 5}

    def ts2net(**changed: Any) -> TS2Net:
        torch.manual_seed(0)
        return TS2Net(TS2NetConfig.parse({**tiny, **shift, **changed}))

    model = ts2net()
    # A head, a name and the words change no frame token; the shift and the pixels' mean do.
    assert ts2net(name="other", max_words=7, temporal_layers=1).vision_fingerprint == model.vision_fingerprint
    torch.manual_seed(0)
    prost = ProST(ModelConfig.parse({**tiny, **shift}))
    assert prost.vision_fingerprint == model.vision_fingerprint
    torch.manual_seed(0)
    without_shift = ProST(ModelConfig.parse({**tiny, "token_shift_blocks": []}))
    torch.manual_seed(0)
    class_tokens = CLIP4Clip(CLIP4ClipConfig.parse(tiny))
    others = [ts2net(token_shift_blocks=[0]), ts2net(token_shift_divisions=4)]
    others += [ts2net(image_mean=[0.5, 0.5, 0.5]), ts2net(image_std=[0.5, 0.5, 0.5])]
    with torch.no_grad():
        others.append(ts2net())
        others[-1].clip.towers.visual_projection.weight[0, 0] += 1
    found = {each.vision_fingerprint for each in (model, without_shift, class_tokens, *others)}
    assert len(found) == 8
