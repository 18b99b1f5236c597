"""Every form of checkpoint loads, and every kind of fault is named."""

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from tests.golden_reference import load_golden
from torch import Tensor

from prost.config import ModelConfig
from prost.errors import (
    BadConfig,
    CheckpointError,
    MissingKeys,
    ShapeMismatch,
    StorageError,
    UnexpectedKeys,
    UsageError,
)
from prost.model.checkpoint import load, save
from prost.model.prost import ProST
from prost.model.tokenizer import whole_words


@pytest.fixture
def model(tiny: dict[str, Any]) -> ProST:
    torch.manual_seed(0)
    words = whole_words([f"w{n}" for n in range(9)])  # 12 with the special ones
    return ProST(
        ModelConfig.parse({**tiny, "name": "tiny", "token_shift_blocks": [1], "token_shift_divisions": 5}),
        words,
    )


@pytest.fixture(scope="module")
def authors_state() -> dict[str, Tensor]:
    return load_golden("prost_github_window").draw_weights()


def test_a_folder_comes_back(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path / "m")
    again = load(tmp_path / "m")
    assert again.config == model.config
    assert again.fingerprint == model.fingerprint
    assert not again.training
    assert again.count_words("w1 w2") == 4
    for key, tensor in model.state_dict().items():
        assert torch.equal(again.state_dict()[key], tensor)


def test_the_weights_are_read_into_place_without_random_ones_first(
    model: ProST, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    save(model, tmp_path)

    def expect_no_memory(tensor: Tensor, *_: Any, **__: Any) -> Tensor:
        assert tensor.is_meta
        return tensor

    for name in ("normal_", "kaiming_uniform_", "kaiming_normal_", "xavier_uniform_"):
        monkeypatch.setattr(torch.nn.init, name, expect_no_memory)
    again = load(tmp_path)
    assert not any(tensor.is_meta for tensor in [*again.parameters(), *again.buffers()])
    assert all(parameter.requires_grad for parameter in again.parameters())


def test_a_loaded_model_makes_the_same_prototypes(model: ProST, tmp_path: Path) -> None:
    save(model.eval(), tmp_path)
    again = load(tmp_path, device="cpu")
    pixels, ids = torch.randn(2, 3, 3, 32, 32), torch.ones(2, 8, dtype=torch.long)
    with torch.no_grad():
        for ours, expected in (
            (again.video_prototypes(pixels), model.video_prototypes(pixels)),
            (again.text_prototypes(ids, ids), model.text_prototypes(ids, ids)),
        ):
            for one, other in zip(ours.tensors(), expected.tensors(), strict=True):
                assert torch.equal(one, other)


def test_a_loaded_model_is_saved_over_itself(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path)
    again = load(tmp_path)
    save(again, tmp_path)
    save(load(tmp_path), tmp_path / "copy")
    assert load(tmp_path / "copy").fingerprint == again.fingerprint == model.fingerprint


def test_a_device_that_is_not_there_is_said_before_the_weights_are_read(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device 'tpu'; expected: auto, cpu"):
        load(tmp_path / "nowhere", device="tpu")


@pytest.mark.parametrize("vocabulary", [True, False])
@pytest.mark.parametrize("step", range(7))
def test_an_interrupted_save_leaves_the_old_model_or_the_new_one(
    model: ProST,
    tiny: dict[str, Any],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    step: int,
    vocabulary: bool,
) -> None:
    """The process ends before one of the changes that a save makes: 6 with a vocabulary, and 6 without one."""
    save(model, tmp_path, beside={"README.md": "old"})
    changes = 0

    class Killed(BaseException):
        pass

    def counted(change: Callable[..., Any]) -> Callable[..., Any]:
        def made(*arguments: Any, **options: Any) -> Any:
            nonlocal changes
            if changes == step:
                raise Killed
            changes += 1
            return change(*arguments, **options)

        return made

    other = ProST(
        ModelConfig.parse({**tiny, "token_shift_blocks": [], "event_layers": 1}),
        whole_words(["other", "words"]) if vocabulary else None,
    )
    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", counted(os.replace))
        for name in ("rename", "unlink", "rmdir"):
            patched.setattr(Path, name, counted(getattr(Path, name)))
        if step == 6:
            save(other, tmp_path, beside={"README.md": "new"})
            assert changes == 6
        else:
            with pytest.raises(Killed):
                save(other, tmp_path, beside={"README.md": "new"})
    found, expected = load(tmp_path), model if step == 0 else other
    assert found.fingerprint == expected.fingerprint
    assert (found.tokenizer is None) == (expected.tokenizer is None)
    names = {"README.md", "config.json", "model.safetensors"} | (
        {"tokenizer.json"} if found.tokenizer else set()
    )
    assert {path.name for path in tmp_path.iterdir()} == names
    assert (tmp_path / "README.md").read_text() == ("old" if step == 0 else "new")


def test_all_files_of_a_model_can_be_read_by_the_same_people(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path / "model")
    assert len({path.stat().st_mode for path in (tmp_path / "model").iterdir()}) == 1


def test_a_model_without_a_vocabulary_does_not_inherit_one(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path)
    model.tokenizer = None
    save(model, tmp_path)
    assert load(tmp_path).tokenizer is None


def test_half_is_half_the_size_and_float32_again(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path / "full")
    save(model, tmp_path / "half", half=True)
    full, half = ((tmp_path / name / "model.safetensors").stat().st_size for name in ("full", "half"))
    assert half < 0.6 * full
    again = load(tmp_path / "half")
    assert all(parameter.dtype == torch.float32 for parameter in again.parameters())
    torch.testing.assert_close(again.event_decoder.queries, model.event_decoder.queries, atol=2e-3, rtol=1e-3)


@pytest.mark.parametrize("name", ["pytorch_model.bin", "pytorch_model.bin.3", "best.pt"])
def test_githubs_file(authors_state: dict[str, Tensor], tmp_path: Path, name: str) -> None:
    torch.save(authors_state, tmp_path / name)
    model = load(tmp_path / name)
    config = model.config
    assert (config.frames, config.object_prototypes, config.phrase_prototypes, config.event_prototypes) == (
        10,
        4,
        9,
        2,
    )
    assert (config.token_shift_blocks, config.token_shift_divisions) == ((10, 11), 7)
    assert (config.mask_padding, config.sparse_weights) == (False, "relu")
    assert config.object_phrase_weight == 1.5


def test_a_folder_with_an_authors_file(authors_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(authors_state, tmp_path / "pytorch_model.bin.4")
    assert load(tmp_path).config.frames == 10
    torch.save(authors_state, tmp_path / "pytorch_model.bin.3")
    with pytest.raises(CheckpointError, match="holds 2 checkpoints; expected: one of them"):
        load(tmp_path)


def test_modelscopes_folder(tmp_path: Path) -> None:
    golden = load_golden("prost_modelscope_b16")
    # ModelScope's loader also takes token-shifted blocks without `net.`.
    state = {
        key.replace("attn.net.", "attn."): tensor.half() for key, tensor in golden.draw_weights().items()
    }
    torch.save(state, tmp_path / "pytorch_model.bin")
    (tmp_path / "configuration.json").write_text(json.dumps({"paras": {"max_words": 20}, "crossbase": {}}))
    model = load(tmp_path)
    assert model.config.max_words == 20
    assert (model.config.token_shift_blocks, model.config.token_shift_divisions) == ((10, 11), 14)
    assert model.event_decoder.queries.dtype == torch.float32


def test_what_shapes_do_not_tell_can_be_overridden(authors_state: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save(authors_state, tmp_path / "m.pt")
    model = load(tmp_path / "m.pt", max_words=64, object_phrase_weight=1.0, token_shift_divisions=14)
    assert (model.config.max_words, model.config.object_phrase_weight) == (64, 1.0)
    assert model.clip.shift_divisions == 14
    with pytest.raises(BadConfig, match="unknown key 'max_word'; try: 'max_words'"):
        load(tmp_path / "m.pt", max_word=64)
    with pytest.raises(
        BadConfig,
        match=r"temporal for .*m\.pt; expected: a field that .* a prost model has; try: leave temporal",
    ):
        load(tmp_path / "m.pt", temporal="meanP")


def test_keys_that_no_forward_pass_reads_are_named(
    authors_state: dict[str, Tensor], tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    torch.save(authors_state, tmp_path / "m.pt")
    with caplog.at_level("INFO", logger="prost"):
        load(tmp_path / "m.pt")
    assert "tensors dropped" in caplog.text and "frame_position_embeddings.weight" in caplog.text


def test_missing_unexpected_and_misshapen_keys_are_named(
    authors_state: dict[str, Tensor], tmp_path: Path
) -> None:
    path = tmp_path / "m.pt"
    torch.save({k: v for k, v in authors_state.items() if k != "clip.visual.ln_post.bias"}, path)
    with pytest.raises(MissingKeys, match=r"lacks clip\.towers\.vision_model\.post_layernorm\.bias"):
        load(path)
    torch.save({k: v for k, v in authors_state.items() if k != "event_decoder.V"}, path)
    with pytest.raises(MissingKeys, match=r"lack 'event_decoder\.V'"):
        load(path)
    torch.save({**authors_state, "clip.surprise": torch.zeros(2)}, path)
    with pytest.raises(UnexpectedKeys, match=r"no place for: clip\.towers\.surprise"):
        load(path)
    torch.save({**authors_state, "word_prototype_weight.0.bias": torch.zeros(7)}, path)
    with pytest.raises(ShapeMismatch, match=r"mlp\.0\.bias has shape \[7\]; expected: \[512\]"):
        load(path)


def test_our_folder_with_another_configuration(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path)
    values = json.loads((tmp_path / "config.json").read_text())
    (tmp_path / "config.json").write_text(json.dumps({**values, "event_prototypes": 5}))
    with pytest.raises(
        ShapeMismatch, match=r"event_decoder\.queries has shape \[3, 64\]; expected: \[5, 64\]"
    ):
        load(tmp_path)
    (tmp_path / "config.json").unlink()
    with pytest.raises(CheckpointError, match=r"without config\.json"):
        load(tmp_path)


class Evil:
    def __reduce__(self) -> tuple[Any, ...]:
        return (Path.touch, (Path("evil-was-here"),))


def test_a_pickle_cannot_run_code(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    torch.save({"a": Evil()}, tmp_path / "evil.bin")
    with pytest.raises(CheckpointError, match="not a plain state dict"):
        load(tmp_path / "evil.bin")
    assert not Path("evil-was-here").exists()


@pytest.mark.parametrize("content", [b"", b"not a checkpoint", b"PK\x03\x04 and then nothing"])
def test_a_damaged_file(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "m.bin").write_bytes(content)
    with pytest.raises(CheckpointError, match=r"m\.bin"):
        load(tmp_path / "m.bin")


def test_damaged_safetensors(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path)
    whole = (tmp_path / "model.safetensors").read_bytes()
    (tmp_path / "model.safetensors").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CheckpointError, match="damaged"):
        load(tmp_path)


def test_something_else(tmp_path: Path) -> None:
    torch.save({"weight": torch.zeros(2)}, tmp_path / "other.pt")
    with pytest.raises(CheckpointError, match=r"holds no model \(weight\)"):
        load(tmp_path / "other.pt")
    torch.save([torch.zeros(2)], tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds a list"):
        load(tmp_path / "list.pt")
    with pytest.raises(CheckpointError, match="holds no weights"):
        (tmp_path / "empty").mkdir()
        load(tmp_path / "empty")


def test_a_vocabulary_larger_than_the_weights(model: ProST, tmp_path: Path) -> None:
    save(model, tmp_path)
    whole_words([f"w{n}" for n in range(50)]).save(tmp_path)
    with pytest.raises(CheckpointError, match="has 53 words, the weights 12"):
        load(tmp_path)


def test_a_place_that_cannot_be_written(model: ProST, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(StorageError, match="cannot be written"):
        save(model, tmp_path / "file" / "below")
