"""Weights in every form that they are published in, and every way in which a file can be wrong."""

import json
import os
import pickle
import subprocess
import sys
import zipfile
from importlib import util
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
from safetensors.torch import save_file
from tests.model.released_models import FAMILIES, Released
from torch import Tensor

from prost.errors import BadConfig, CheckpointError, MissingKeys, StorageError, UnexpectedKeys
from prost.model.checkpoint import load
from prost.model.dual_encoder import DualEncoder
from prost.model.weights import read_weights


@pytest.fixture(scope="module")
def released() -> Released:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FAMILIES["siglip"]()


@pytest.fixture(scope="module")
def openai() -> ModuleType:
    """OpenAI's own code of the model. Its package asks for torchvision; this file does not."""
    package = util.find_spec("clip")
    assert package is not None and package.origin is not None
    spec = util.spec_from_file_location("openai_clip_model", Path(package.origin).parent / "model.py")
    assert spec is not None and spec.loader is not None
    module = util.module_from_spec(spec)
    sys.modules[spec.name] = module  # TorchScript looks classes up there
    spec.loader.exec_module(module)
    return module


@pytest.fixture(scope="module")
def openai_clip(openai: ModuleType) -> Any:
    """A small CLIP by OpenAI's own code. Its text tower has heads of width 64, as in every released one."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        model = openai.CLIP(
            embed_dim=24, image_resolution=32, vision_layers=2, vision_width=64, vision_patch_size=8,
            context_length=77, vocab_size=300, transformer_width=128, transformer_heads=2, transformer_layers=2,
        )  # fmt: skip
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.add_(torch.randn_like(parameter) * 0.1)
    return model.eval()


def test_openais_state_dict_gives_openais_embeddings(openai_clip: Any, tmp_path: Path) -> None:
    torch.save(openai_clip.state_dict(), tmp_path / "ViT.pt")
    model = load(tmp_path / "ViT.pt", device="cpu", frames=2)
    assert isinstance(model, DualEncoder) and model.config.family == "clip"
    ids = torch.zeros(2, 77, dtype=torch.long)
    ids[0, :4], ids[1, :3] = torch.tensor([298, 5, 6, 299]), torch.tensor([298, 7, 299])
    pixels = torch.randn(1, 2, 3, 32, 32)
    with torch.no_grad():
        ours = model.text_prototypes(ids, (ids != 0).long()).sentence
        assert (ours - openai_clip.encode_text(ids)).abs().max() < 1e-4
        frames = model.video_prototypes(pixels).object[0, :, 0]
        assert (frames - openai_clip.encode_image(pixels[0])).abs().max() < 1e-4


@pytest.mark.parametrize("half", [False, True])
def test_a_torchscript_archive_holds_the_same_tensors(openai_clip: Any, half: bool, tmp_path: Path) -> None:
    example = torch.zeros(1, 3, 32, 32), torch.zeros(1, 77, dtype=torch.long)
    traced = torch.jit.trace(openai_clip, example, check_trace=False)
    if half:
        traced = traced.half()
    torch.jit.save(traced, str(tmp_path / "ViT-B-32.pt"))
    expected = traced.state_dict()
    state = read_weights(tmp_path / "ViT-B-32.pt")
    assert state.keys() == expected.keys()
    for key, tensor in expected.items():
        assert torch.equal(state[key], tensor) and state[key].dtype == tensor.dtype
    traced.float()
    model = load(tmp_path / "ViT-B-32.pt", device="cpu", frames=1)
    pixels = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        frames = model.video_prototypes(pixels).object[0, :, 0]
        assert (frames - openai_clip.encode_image(pixels[0])).abs().max() < (0.02 if half else 1e-4)


def test_nothing_in_a_torchscript_archive_is_run(openai_clip: Any, tmp_path: Path) -> None:
    class Evil:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return os.mkdir, (str(tmp_path / "was run"),)

    with zipfile.ZipFile(tmp_path / "evil.pt", "w") as archive:
        archive.writestr("m/data.pkl", pickle.dumps(Evil(), protocol=2))
        archive.writestr("m/constants.pkl", pickle.dumps((), protocol=2))
    with pytest.raises(CheckpointError, match="would run code"):
        read_weights(tmp_path / "evil.pt")
    assert not (tmp_path / "was run").exists()


def test_a_resnet_is_refused(openai: ModuleType, tmp_path: Path) -> None:
    model = openai.CLIP(
        embed_dim=24, image_resolution=64, vision_layers=(1, 1, 1, 1), vision_width=16, vision_patch_size=None,
        context_length=77, vocab_size=300, transformer_width=64, transformer_heads=1, transformer_layers=1,
    )  # fmt: skip
    torch.save(model.state_dict(), tmp_path / "RN.pt")
    with pytest.raises(CheckpointError, match=r"ResNet; expected: a vision transformer"):
        load(tmp_path / "RN.pt")


def same(folder: Path, released: Released) -> bool:
    pixels = torch.randn(1, 1, 3, 32, 32)
    with torch.no_grad():
        ours = load(folder, device="cpu", frames=1).video_prototypes(pixels).object[0, :, 0]
    return bool((ours - released.frames(pixels[0])).abs().max() < 1e-4)


def test_weights_in_shards(released: Released, tmp_path: Path) -> None:
    released.model.save_pretrained(tmp_path, max_shard_size="100KB")
    shards = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(shards) > 1
    assert same(tmp_path, released)
    shards[1].rename(tmp_path / "elsewhere")
    with pytest.raises(CheckpointError, match=r"no weights"):
        load(tmp_path)
    with pytest.raises(CheckpointError, match=rf"names {shards[1].name}, which is not there"):
        read_weights(tmp_path / "model.safetensors.index.json")
    (tmp_path / "elsewhere").rename(shards[1])
    index = tmp_path / "model.safetensors.index.json"
    values = json.loads(index.read_text())
    values["weight_map"]["surprise"] = shards[0].name
    index.write_text(json.dumps(values))
    with pytest.raises(CheckpointError, match=r"promises surprise, which no shard holds"):
        load(tmp_path)


def test_a_pickle_of_transformers(released: Released, tmp_path: Path) -> None:
    released.model.config.save_pretrained(tmp_path)
    torch.save(released.model.state_dict(), tmp_path / "pytorch_model.bin")
    assert same(tmp_path, released)


def test_a_state_dict_inside_what_a_training_saves(tmp_path: Path) -> None:
    torch.save({"epoch": 3, "state_dict": {"a": torch.ones(2)}}, tmp_path / "epoch.pt")
    assert read_weights(tmp_path / "epoch.pt")["a"].tolist() == [1, 1]


@pytest.mark.parametrize("kept", [0.01, 0.3, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("name", ["pytorch_model.bin", "old.bin", "model.safetensors"])
def test_a_truncated_file_is_damaged(released: Released, tmp_path: Path, name: str, kept: float) -> None:
    state: dict[str, Tensor] = released.model.state_dict()
    if name == "model.safetensors":
        released.model.save_pretrained(tmp_path)
    else:
        torch.save(state, tmp_path / name, _use_new_zipfile_serialization=name != "old.bin")
    content = (tmp_path / name).read_bytes()
    (tmp_path / name).write_bytes(content[: int(len(content) * kept)])
    with pytest.raises(CheckpointError, match="damaged"):
        read_weights(tmp_path / name)


def test_a_file_that_cannot_be_read(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="cannot be read"):
        read_weights(tmp_path)
    with pytest.raises(StorageError, match="cannot be read"):
        read_weights(tmp_path / "none.bin")


READING = """
import resource, sys
from pathlib import Path
from prost.errors import ProstError
from prost.model.weights import read_weights

read_weights(Path(sys.argv[1]))  # imports and pools are there now
used = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
resource.setrlimit(resource.RLIMIT_AS, (used + (64 << 20),) * 2)
try:
    read_weights(Path(sys.argv[2]))
except ProstError as error:
    print(type(error).__name__, str(error))
"""


@pytest.mark.parametrize("name", ["large.bin", "large.safetensors"])
def test_weights_that_do_not_fit_into_memory_are_not_damaged(tmp_path: Path, name: str) -> None:
    small, large = {"a": torch.zeros(4)}, {"a": torch.zeros(96 << 18)}  # 96 MiB
    write = save_file if name.endswith(".safetensors") else torch.save
    write(small, tmp_path / f"small{Path(name).suffix}")
    write(large, tmp_path / name)
    said = subprocess.run(
        [sys.executable, "-c", READING, tmp_path / f"small{Path(name).suffix}", tmp_path / name],
        capture_output=True,
        text=True,
    )
    assert said.stdout.startswith("StorageError") and "does not fit into memory" in said.stdout, said


def test_missing_and_unknown_tensors_of_a_folder_of_transformers(released: Released, tmp_path: Path) -> None:
    released.model.config.save_pretrained(tmp_path)
    state = released.model.state_dict()
    torch.save(
        {k: v for k, v in state.items() if k != "text_model.head.bias"}, tmp_path / "pytorch_model.bin"
    )
    with pytest.raises(MissingKeys, match=r"lacks clip\.towers\.text_projection\.bias"):
        load(tmp_path)
    torch.save({**state, "vision_model.surprise": torch.ones(2)}, tmp_path / "pytorch_model.bin")
    with pytest.raises(UnexpectedKeys, match=r"no place for: clip\.towers\.vision_model\.surprise"):
        load(tmp_path)


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"model_type": "siglip2"}, r"NaFlex .*expected: a fixed-size model, such as google/siglip2-base"),
        ({"model_type": "videoprism"}, r"VideoPrism, whose frames see each other"),
        ({"model_type": "bert"}, r"model_type 'bert'; expected: clip, metaclip_2, chinese_clip, siglip"),
        ({"text_config": {"hidden_act": "swish"}}, r"text_config.hidden_act 'swish'; expected: quick_gelu"),
        ({"vision_config": {"num_attention_heads": 7}}, r"7 attention heads in a vision tower of width 48"),
    ],
)
def test_a_model_of_another_kind_is_refused(
    released: Released, tmp_path: Path, changed: dict[str, Any], said: str
) -> None:
    released.model.save_pretrained(tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, **changed}))
    with pytest.raises(BadConfig, match=said):
        load(tmp_path)
