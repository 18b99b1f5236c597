"""ProST's heads on published dual encoders, and dual encoders tuned as they are: real training, in the small."""

import json
import math
from pathlib import Path
from typing import Any

import pytest
import torch
import yaml
from tests.model.released_models import written

from prost.data.toybox import write
from prost.errors import UsageError
from prost.model.checkpoint import load
from prost.model.dual_encoder import DualEncoder
from prost.model.prost import ProST
from prost.training.finetune import FineTuning, finetune
from prost.training.trainer import run_recipe

FROZEN = ["clip.towers.vision_model", "clip.towers.visual_projection"]
HEADS = {
    "name": "on a dual encoder", "frames": 3, "object_prototypes": 4, "phrase_prototypes": 6, "frame_layers": 1,
    "token_shift_blocks": [], "event_layers": 1,
}  # fmt: skip


@pytest.fixture(scope="module", params=["clip", "siglip", "chinese_clip"])
def start(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return written(request.param, tmp_path_factory.mktemp("released"))


def test_prosts_heads_are_trained_on_a_folder_of_transformers(start: Path, tmp_path: Path) -> None:
    """On cached frame tokens; the vision tower stays that of the start, to the bit, and the text tower moves."""
    frozen = [name for name in FROZEN if start.name != "siglip" or name.endswith("vision_model")]
    recipe: dict[str, Any] = {
        "start": str(start), "model": HEADS, "toybox": {"workers": 0, "clips": 14},
        "prost": {"steps": 4, "batch_size": 6, "learning_rate": 1e-3, "clip_learning_rate": 1e-3, "freeze": frozen},
        "cache_frame_tokens": "memory", "precision": "fp32", "validation": "toybox-10", "evaluate_every": 2,
    }  # fmt: skip
    path = tmp_path / "recipe.yaml"
    path.write_text(yaml.safe_dump(recipe))
    best = run_recipe(path, tmp_path / "out")
    model, before = load(tmp_path / "out" / "last"), load(start)
    assert isinstance(model, ProST) and load(best).config == model.config
    assert model.config.clip == before.config.clip and model.config.text_padding == before.config.text_padding
    moved = {
        name
        for name, tensor in model.clip.state_dict().items()
        if not torch.equal(tensor, before.clip.state_dict()[name])
    }
    assert any("text_model" in name for name in moved) and not any("vision_model" in name for name in moved)
    lines = [json.loads(line) for line in (tmp_path / "out" / "log.jsonl").read_text().splitlines()]
    losses = [line["loss"] for line in lines if line["stage"] == "prost" and "loss" in line]
    assert losses and all(math.isfinite(loss) for loss in losses)
    with torch.no_grad():
        tokens = model.frame_tokens(torch.zeros(1, 3, 3, 32, 32))
        assert model.video_head(tokens).object.shape == (1, 3, 4, model.config.width)
        assert tokens.shape[2] == 17  # what stands for the class token, and 4 x 4 patches
    assert model.encode_text(["a red ball falls"]).phrase.shape == (1, 6, model.config.width)


def test_a_trained_text_does_not_depend_on_the_others_of_its_batch(start: Path) -> None:
    """Padding is cut in training to the longest sentence, but not where it is read."""
    model = load(start, device="cpu")
    ids, mask = model.tokenize(["a red ball falls", "a cat"])
    longest = int(mask.sum(dim=1).max())
    whole = model.text_prototypes(ids, mask).sentence
    if model.reads_padding:
        with pytest.raises(UsageError, match="reads padded positions"):
            model.text_prototypes(ids[:, :longest], mask[:, :longest])
    else:
        cut = model.text_prototypes(ids[:, :longest], mask[:, :longest]).sentence
        torch.testing.assert_close(cut, whole, rtol=1e-4, atol=1e-5)


@pytest.mark.slow
def test_a_dual_encoder_is_tuned_on_pairs(start: Path, tmp_path: Path) -> None:
    folder = tmp_path / "videos"
    write(folder, videos=10, seed=3)
    lines = ["video,caption"]
    for line in (folder / "captions.jsonl").read_text().splitlines():
        values = json.loads(line)
        lines += [f'{values["video"]},"{caption}"' for caption in values["captions"][:1]]
    (folder / "pairs.csv").write_text("\n".join(lines))
    settings = FineTuning(epochs=1, batch_size=4, learning_rate=1e-3, clip_learning_rate=1e-3, held_out=0.3)
    result = finetune(str(start), folder / "pairs.csv", folder, tmp_path / "out", settings)
    assert result is not None
    tuned, before = load(result.model), load(start)
    assert isinstance(tuned, DualEncoder) and tuned.config == before.config
    assert tuned.fingerprint != before.fingerprint
