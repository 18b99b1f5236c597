"""The rivals' authors' state dicts: opened by their shapes, and the numbers of the authors' code."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from tests.golden_reference import Golden, load_golden
from torch import Tensor

from prost.errors import BadConfig, MissingKeys, UsageError
from prost.model import rivals
from prost.model.checkpoint import load, load_prost, save
from prost.model.clip4clip import CLIP4Clip, CLIP4ClipConfig
from prost.model.ts2net import TS2Net, TS2NetConfig


def open_rival(state: dict[str, Tensor], **overrides: Any) -> CLIP4Clip | TS2Net:
    values = {**rivals.read_configuration(state), **overrides}
    model: CLIP4Clip | TS2Net
    if values["architecture"] == "ts2net":
        model = TS2Net(TS2NetConfig.parse(values))
    else:
        model = CLIP4Clip(CLIP4ClipConfig.parse(values))
    model.load_state_dict(rivals.translate(state)[0])
    return model.eval()


@torch.inference_mode()
def similarity(model: Any, golden: Golden) -> np.ndarray:
    text = model.text_prototypes(golden.ids, golden.mask)
    video = model.video_prototypes(golden.draw_video())
    return (model.logit_scale * model.match(text, video).total).numpy()


@pytest.mark.parametrize("name", ["clip4clip_meanP", "clip4clip_seqTransf", "ts2net"])
def test_similarities_of_the_authors_code(name: str) -> None:
    golden = load_golden(name)
    model = open_rival(golden.draw_weights(), frames=golden.spec["frames"])
    np.testing.assert_allclose(similarity(model, golden), golden["similarity"], atol=1e-4, rtol=0)


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("clip4clip_meanP", {"architecture": "clip4clip"}),
        (
            "clip4clip_seqTransf",
            {"architecture": "clip4clip", "temporal": "seqTransf", "temporal_layers": 2, "positions": 77},
        ),
        (
            "ts2net",
            {"architecture": "ts2net", "temporal_layers": 2, "positions": 77, "token_shift_blocks": [10, 11]},
        ),
    ],
)
def test_what_shapes_tell(name: str, expected: dict[str, Any]) -> None:
    golden = load_golden(name)
    values = rivals.read_configuration(golden.draw_weights())
    clip = values.pop("clip")
    assert (values.pop("width"), values.pop("max_words")) == (golden.spec["embed"], 32)
    assert values == expected
    assert (clip["patch_size"], clip["image_size"]) == (32, 224)
    assert (clip["vision_layers"], clip["text_layers"]) == (12, 3)
    assert (clip["vocabulary"], clip["text_positions"]) == (600, 77)


def test_only_what_no_forward_pass_reads_is_dropped() -> None:
    dropped = rivals.translate(load_golden("ts2net").draw_weights())[1]
    assert {key.split(".")[0] for key in dropped} == {"text_token_selector", "visual_prompt_encoder"}
    for name in ("clip4clip_meanP", "clip4clip_seqTransf"):
        assert rivals.translate(load_golden(name).draw_weights())[1] == []


def test_an_lstm_is_opened_and_its_unread_positions_are_dropped() -> None:
    state = load_golden("clip4clip_meanP").draw_weights()
    lstm = torch.nn.LSTM(64, 64, batch_first=True)
    state |= {f"lstm_visual.{key}": tensor for key, tensor in lstm.state_dict().items()}
    state["frame_position_embeddings.weight"] = torch.zeros(77, 64)
    model = open_rival(state, frames=6)
    assert isinstance(model, CLIP4Clip)
    assert model.config.temporal == "seqLSTM"
    assert torch.equal(model.lstm.weight_hh_l0, lstm.weight_hh_l0)
    assert rivals.translate(state)[1] == ["frame_position_embeddings.weight"]


def test_unknown_keys_keep_their_names() -> None:
    state = load_golden("clip4clip_meanP").draw_weights()
    state["cross.pooler.dense.weight"] = torch.zeros(2, 2)
    assert "cross.pooler.dense.weight" in rivals.translate(state)[0]


def test_who_wrote_it() -> None:
    assert rivals.recognise(load_golden("ts2net").draw_weights()) == "ts2net"
    assert rivals.recognise(load_golden("clip4clip_seqTransf").draw_weights()) == "clip4clip"
    assert rivals.recognise(load_golden("prost_github_window").draw_weights()) is None
    assert rivals.recognise({"weight": torch.zeros(1)}) is None


def test_a_missing_tensor_is_named() -> None:
    state = load_golden("ts2net").draw_weights()
    del state["frame_position_embeddings.weight"]
    with pytest.raises(MissingKeys, match="frame_position_embeddings"):
        rivals.read_configuration(state)


@pytest.mark.parametrize("name", ["clip4clip_meanP", "clip4clip_seqTransf", "ts2net"])
def test_load_opens_them_and_what_it_saved(name: str, tmp_path: Path) -> None:
    golden = load_golden(name)
    torch.save(golden.draw_weights(), tmp_path / "pytorch_model.bin")
    model = load(tmp_path / "pytorch_model.bin", frames=golden.spec["frames"])
    save(model, tmp_path / "ours")
    again = load(tmp_path / "ours")
    assert type(again) is type(model)
    assert again.fingerprint == model.fingerprint
    np.testing.assert_allclose(similarity(again, golden), golden["similarity"], atol=1e-4, rtol=0)
    with pytest.raises(UsageError, match="a ProST"):
        load_prost(tmp_path / "ours")


def test_an_unknown_architecture_is_named(tmp_path: Path) -> None:
    torch.save(load_golden("clip4clip_meanP").draw_weights(), tmp_path / "pytorch_model.bin")
    save(load(tmp_path), tmp_path / "ours")
    config = tmp_path / "ours" / "config.json"
    config.write_text(config.read_text().replace('"clip4clip"', '"clip5clip"', 1))
    with pytest.raises(BadConfig, match="clip5clip"):
        load(tmp_path / "ours")
