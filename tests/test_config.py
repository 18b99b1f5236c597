"""Configurations: what is refused, and that every field is read by something."""

from pathlib import Path
from typing import Any

import pytest

from prost.config import CLIPShape, ModelConfig, TowerDesign, read_json
from prost.errors import BadConfig, MissingPath
from prost.model.clip4clip import CLIP4ClipConfig
from prost.model.ts2net import TS2NetConfig


def test_an_unknown_key_names_the_nearest_known_one() -> None:
    with pytest.raises(BadConfig, match=r"m\.json: unknown key 'object_prototype'; try: 'object_prototypes'"):
        ModelConfig.parse({"object_prototype": 3}, origin="m.json")
    with pytest.raises(BadConfig, match=r"unknown key 'clip\.patchsize'; try: 'patch_size'"):
        ModelConfig.parse({"clip": {"patchsize": 16}})


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ({"frames": 0}, "frames"),
        ({"window": 1.5}, "window"),
        ({"sparse_weights": "sigmoid"}, "sparse_weights"),
        ({"clip": {"vision_width": 100}}, "multiple of 64"),
        ({"clip": {"image_size": 100, "patch_size": 16}}, "not a multiple of patch_size"),
        ({"clip": {"stem": [[16, 2], [32, 3]]}}, "patch_size 32 is not a multiple of 6"),
        ({"clip": {"stem": [[16, 4]]}}, r"clip\.stem\.0\.1: .* less than or equal to 3"),
        ({"clip": {"stem": [[10**8, 2]]}}, r"clip\.stem\.0\.0: .* less than or equal to"),
        ({"token_shift_blocks": [12]}, r"\[12\] exceed the 12 vision layers"),
        ({"max_words": 78}, "exceeds the 77 text positions"),
        ({"token_shift_divisions": 51}, "exceed the 50 tokens$"),
    ],
)
def test_a_value_out_of_range_is_named(values: dict[str, object], said: str) -> None:
    with pytest.raises(BadConfig, match=said):
        ModelConfig.parse(values)


SIZES = [
    *(("clip", name) for name, field in CLIPShape.model_fields.items() if field.annotation is int),
    *(("clip", tower, size) for tower in ("vision", "text") for size in ("head_width", "mlp_width")),
    *((name,) for name in ("width", "frames", "max_words", "token_shift_divisions")),
    *((name,) for name in ("object_prototypes", "phrase_prototypes", "event_prototypes")),
    ("frame_layers",),
    ("event_layers",),
]


@pytest.mark.parametrize("size", SIZES, ids=".".join)
def test_no_size_fills_the_memory(size: tuple[str, ...]) -> None:
    values: Any = 10**8
    for key in reversed(size):
        values = {key: values}
    with pytest.raises(BadConfig, match=rf"{'.'.join(size)}: .* less than or equal to .* \(got 100000000\)"):
        ModelConfig.parse(values)


def test_every_integer_of_every_model_has_an_upper_bound() -> None:
    for config in (CLIPShape, TowerDesign, ModelConfig, CLIP4ClipConfig, TS2NetConfig):
        for name, field in config.model_fields.items():
            if field.annotation is int:
                assert any(hasattr(limit, "le") for limit in field.metadata), f"{config.__name__}.{name}"


def test_defaults_are_the_papers() -> None:
    config = ModelConfig()
    assert (config.width, config.frames, config.max_words) == (512, 12, 32)
    assert (config.object_prototypes, config.phrase_prototypes, config.event_prototypes) == (12, 28, 3)
    assert (config.frame_layers, config.event_layers, config.window) == (2, 2, 0.2)
    assert CLIPShape().tokens == 50  # ViT-B/32 at 224


def test_it_comes_back_from_json() -> None:
    config = ModelConfig.parse({"frames": 64, "token_shift_blocks": [3], "name": "other"})
    assert ModelConfig.model_validate_json(config.model_dump_json()) == config


def test_reading_json(tmp_path: Path) -> None:
    with pytest.raises(MissingPath, match="does not exist"):
        read_json(tmp_path / "none.json")
    (tmp_path / "list.json").write_text("[1]")
    with pytest.raises(BadConfig, match="holds a list; expected: a JSON object"):
        read_json(tmp_path / "list.json")
    (tmp_path / "broken.json").write_text("{")
    with pytest.raises(BadConfig, match="is not valid JSON"):
        read_json(tmp_path / "broken.json")
