"""Folders of open_clip. A plain CLIP needs no library; the others are compared with open_clip, where it is installed.

open_clip needs torchvision, whose build must fit that of torch; the CPU build of torch has no match on the package
index. So `make test-open-clip` runs the tests that need the library, see `open_clip_beside`.
"""

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.model.test_weights import openai, openai_clip  # noqa: F401  # fixtures

from prost.errors import BadConfig, UsageError
from prost.model.checkpoint import load, save
from prost.model.dual_encoder import DualEncoder

PIXELS = {"mean": [0.4, 0.5, 0.6], "std": [0.2, 0.25, 0.3]}
TIMM = {
    "embed_dim": 96, "custom_text": True,
    "vision_cfg": {
        "image_size": 384, "timm_model_name": "vit_pe_core_tiny_patch16_384", "timm_model_pretrained": False,
        "timm_pool": "map", "timm_proj": None,
    },
    "text_cfg": {"context_length": 32, "vocab_size": 300, "width": 96, "heads": 4, "layers": 2},
}  # fmt: skip


@pytest.fixture(scope="module")
def library() -> Any:
    try:
        import open_clip
    except (ImportError, RuntimeError) as error:
        pytest.skip(f"open_clip cannot be imported: {error}")
    return open_clip


def write(folder: Path, model: dict[str, Any], state: dict[str, torch.Tensor]) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "open_clip_config.json").write_text(json.dumps({"model_cfg": model, "preprocess_cfg": PIXELS}))
    save_file(
        {key: tensor.contiguous() for key, tensor in state.items()}, folder / "open_clip_model.safetensors"
    )
    return folder


def ids_of(words: int) -> tuple[torch.Tensor, torch.Tensor]:
    ids = torch.zeros(2, words, dtype=torch.long)
    ids[0, :4], ids[1, :3] = torch.tensor([298, 5, 6, 299]), torch.tensor([298, 7, 299])
    return ids, (ids != 0).long()


@torch.no_grad()
def largest_difference(model: DualEncoder, theirs: Any, size: int, words: int) -> float:
    ids, mask = ids_of(words)
    pixels = torch.randn(1, model.config.frames, 3, size, size)
    texts = model.text_prototypes(ids, mask).sentence - theirs.encode_text(ids)
    frames = model.video_prototypes(pixels).object[0, :, 0] - theirs.encode_image(pixels[0])
    return max(texts.abs().max().item(), frames.abs().max().item())


def test_a_plain_clip_needs_no_library(openai_clip: Any, tmp_path: Path) -> None:  # noqa: F811
    model = {
        "embed_dim": 24, "quick_gelu": True,
        "vision_cfg": {"image_size": 32, "layers": 2, "width": 64, "patch_size": 8},
        "text_cfg": {"context_length": 77, "vocab_size": 300, "width": 128, "heads": 2, "layers": 2},
    }  # fmt: skip
    opened = load(write(tmp_path / "plain", model, openai_clip.state_dict()), device="cpu", frames=2)
    assert isinstance(opened, DualEncoder) and opened.config.family == "clip"
    assert opened.config.image_mean == (0.4, 0.5, 0.6) and opened.config.image_std == (0.2, 0.25, 0.3)
    assert largest_difference(opened, openai_clip, 32, 77) < 1e-4
    assert opened.config.image_fit == "crop"
    described = tmp_path / "plain" / "open_clip_config.json"
    values = json.loads(described.read_text())
    for mode, fit in (("shortest", "crop"), ("longest", "pad"), ("squash", "stretch")):
        values["preprocess_cfg"]["resize_mode"] = mode
        described.write_text(json.dumps(values))
        assert load(tmp_path / "plain", device="cpu").config.image_fit == fit


def test_without_the_library_another_model_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "open_clip", None)
    with pytest.raises(UsageError, match=r"needs open_clip.*pip install '\.\[openclip\]'"):
        load(write(tmp_path / "pe", TIMM, {"a": torch.ones(1)}))


def test_a_configuration_without_a_model(tmp_path: Path) -> None:
    write(tmp_path, {}, {"a": torch.ones(1)})
    with pytest.raises(BadConfig, match="has no model_cfg with both towers"):
        load(tmp_path)


PLAIN = {
    "embed_dim": 24,
    "vision_cfg": {"image_size": 32, "layers": 2, "width": 96, "patch_size": 8, "head_width": 24, "mlp_ratio": 3.0},
    "text_cfg": {"context_length": 20, "vocab_size": 300, "width": 60, "heads": 5, "layers": 2},
}  # fmt: skip
SIGLIP = {
    "embed_dim": 192, "init_logit_bias": -10, "custom_text": True,
    "vision_cfg": {
        "image_size": 224, "timm_model_name": "vit_tiny_patch16_224", "timm_model_pretrained": False,
        "timm_pool": "avg", "timm_proj": "linear",
    },
    "text_cfg": {
        "context_length": 16, "vocab_size": 300, "width": 96, "heads": 4, "layers": 2, "no_causal_mask": True,
        "proj_bias": True, "pool_type": "last", "norm_kwargs": {"eps": 1e-6},
    },
}  # fmt: skip


@pytest.mark.parametrize(
    ("name", "config"),
    [
        ("plain", PLAIN),
        ("custom text", {**PLAIN, "custom_text": True}),
        ("PE-Core", TIMM),
        ("SigLIP", SIGLIP),
    ],
)
def test_embeddings_equal_those_of_open_clip(
    library: Any, name: str, config: dict[str, Any], tmp_path: Path, record_property: Any
) -> None:
    torch.manual_seed(0)
    made = tmp_path / "made"
    made.mkdir()
    (made / "open_clip_config.json").write_text(json.dumps({"model_cfg": config}))
    theirs = library.create_model(f"local-dir:{made}", load_weights=False)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.add_(torch.randn_like(parameter) * 0.05)
    theirs.eval()
    opened = load(write(tmp_path / "folder", config, theirs.state_dict()), device="cpu", frames=2)
    assert isinstance(opened, DualEncoder)
    assert (opened.config.open_clip is None) == (name in ("plain", "custom text"))
    words = config["text_cfg"]["context_length"]
    size = config["vision_cfg"]["image_size"]
    found = largest_difference(opened, theirs, size, words)
    record_property("largest difference", f"{name}: {found:.1e}")
    assert found < 1e-4
    save(opened, tmp_path / "ours")
    again = load(tmp_path / "ours", device="cpu")
    assert again.fingerprint == opened.fingerprint and again.config == opened.config
    assert largest_difference(again, theirs, size, words) < 1e-4
    assert again.vision_fingerprint == opened.vision_fingerprint
    if opened.config.open_clip is not None:
        with torch.no_grad():
            next(iter(again.clip.towers.visual.parameters())).add_(1)
        assert again.vision_fingerprint != opened.vision_fingerprint
