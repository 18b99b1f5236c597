"""What a dual encoder makes of frame tokens, and why a sentence and a clip have their score."""

from typing import Any

import numpy as np
import pytest
import torch
from tests.model.released_models import written

from prost.errors import BadConfig
from prost.model.checkpoint import load
from prost.model.dual_encoder import DualEncoder, DualEncoderConfig
from prost.model.encoding import VideoEncoder
from prost.model.evidence import explain_clip
from prost.model.retrieval_model import join

QUERY = "a red ball falls"
SMALL: dict[str, Any] = {
    "clip": {
        "image_size": 64, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64, "text_layers": 1,
        "vocabulary": 10,
    },
    "width": 8, "frames": 3,
}  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip", "chinese_clip"])
def folder(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Any:
    return written(request.param, tmp_path_factory.mktemp("released"))


def test_the_event_is_the_mean_of_unit_frames() -> None:
    model = DualEncoder(DualEncoderConfig.parse(SMALL))
    tokens = torch.randn(2, 3, 1, 8)
    video = model.video_head(tokens)
    assert torch.equal(video.object, tokens)
    units = tokens[:, :, 0] / tokens[:, :, 0].norm(dim=-1, keepdim=True)
    torch.testing.assert_close(video.event[:, 0], units.mean(dim=1))
    assert model.config.object_prototypes == 1 and video.object.shape[2] == 1


@pytest.mark.parametrize("cell_grid", [1, 2, 3, 4])
def test_cells_are_means_of_unit_patches(cell_grid: int) -> None:
    """A grid of 3 over 4 x 4 patches has cells that share patches."""
    model = DualEncoder(DualEncoderConfig.parse({**SMALL, "cells": True, "cell_grid": cell_grid}))
    tokens = torch.randn(2, 3, 17, 8)
    cells = model.video_head(tokens).object[:, :, 1:].unflatten(2, (cell_grid, cell_grid))
    patches = (tokens[:, :, 1:] / tokens[:, :, 1:].norm(dim=-1, keepdim=True)).unflatten(2, (4, 4))
    edges = [(4 * n // cell_grid, -(-4 * (n + 1) // cell_grid)) for n in range(cell_grid)]
    for row, (top, bottom) in enumerate(edges):
        for column, (left, right) in enumerate(edges):
            expected = patches[:, :, top:bottom, left:right].mean(dim=(2, 3))
            torch.testing.assert_close(cells[:, :, row, column], expected, rtol=1e-5, atol=1e-6)
    assert model.config.object_prototypes == 1 + cell_grid**2
    weights = model.object_weights(tokens)
    assert weights is not None
    torch.testing.assert_close(
        weights.transpose(-1, -2) @ tokens, model.video_head(tokens).object, rtol=1e-5, atol=1e-6
    )


def test_choices_that_do_not_fit_each_other() -> None:
    for values, said in (
        ({"open_clip": {}}, "family 'openclip' and open_clip belong together"),
        ({"family": "openclip", "open_clip": {}, "cells": True}, "no patch tokens"),
        ({"prompt": "a photo"}, "prompt"),
    ):
        with pytest.raises(BadConfig, match=said):
            DualEncoderConfig.parse({**SMALL, "max_words": 77, **values})


@pytest.mark.parametrize("cells", [False, True])
def test_the_parts_of_the_evidence_add_up(folder: Any, cells: bool) -> None:
    model = load(folder, device="cpu", frames=3, cells=cells, cell_grid=2)
    frames = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    found = explain_clip(model, QUERY, frames, np.array([0.5, 1.5, 2.5]))
    video = join([VideoEncoder(model).encode(frames[None])])
    score = model.match(model.encode_text([QUERY]), video).total.item()
    assert found.score == pytest.approx(score, abs=1e-5)
    assert found.event_sentence + sum(slot.share for slot in found.slots) == pytest.approx(score, abs=1e-5)
    assert found.events is not None and found.events.tolist() == [[pytest.approx(1 / 3)] * 3]
    shown = [word for word in found.words if word.text]
    assert "".join(word.text for word in shown).replace("▁", "").replace(" ", "") == QUERY.replace(" ", "")
    if not cells:
        assert found.heat is None
        return
    assert found.heat is not None and found.heat.shape == (3, 4, 4)
    text = model.encode_text([QUERY]).phrase[0, 0]
    whole = torch.cosine_similarity(video.object[0, :, 0], text[None], dim=-1) / 5  # slot 0 of 5 has no patch
    assert found.heat.sum(axis=(1, 2)) + whole.numpy() == pytest.approx(found.frame_scores, abs=1e-5)


def test_words_of_the_prompt_are_not_left_out(folder: Any) -> None:
    plain = load(folder, device="cpu")
    prompted = load(folder, device="cpu", prompt="cat {} run")
    rests = {word.text: word.rest for word in prompted.split_words("a dog falls") if word.text}
    assert rests["dog"] == "a falls" and rests["cat"] == rests["run"] == ""
    assert {word.text: word.rest for word in plain.split_words("a dog falls")}["dog"] == "a falls"
