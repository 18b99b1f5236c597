"""Configurations: what is saved beside the weights, and what a model is rebuilt from.

Every field is read by the code that it configures; an unknown key is an error that names the nearest known one.
Defaults are the paper's for MSR-VTT (supplement, implementation details).
"""

from __future__ import annotations

import difflib
import json
from pathlib import Path
from typing import Any, Literal, Self, TypeVar, get_args

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator, model_validator

from prost.errors import BadConfig, MissingPath

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

Config = TypeVar("Config", bound="StrictConfig")


class StrictConfig(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid")

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str = "configuration", within: str = "") -> Self:
        """Build from plain values.

        Args:
            values: keys and values, as read from JSON or YAML.
            origin: where they came from, for the message.
            within: the key there under which they stand, for the message.

        Raises:
            BadConfig: an unknown key (the nearest known one is named) or a value out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            errors = error.errors()
            # A key that is misspelt is also one that is missing: the first tells why.
            first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
            place = ".".join(str(part) for part in (within, *first["loc"]) if part != "")
            if first["type"] == "extra_forbidden":
                raise BadConfig(
                    f"{origin}: unknown key {place!r}", suggestion=cls._nearest(first["loc"])
                ) from None
            raise BadConfig(
                f"{origin}: {place or 'value'}: {first['msg']} (got {first.get('input')!r})"
            ) from None

    @classmethod
    def _nearest(cls, location: tuple[int | str, ...]) -> str:
        """Name the known key that is most like the last part of an unknown one's place."""
        fields = cls.model_fields
        for part in location[:-1]:
            said = fields[str(part)].annotation if str(part) in fields else None
            inner = [kind for kind in (said, *get_args(said)) if isinstance(kind, type)]
            records = [kind for kind in inner if issubclass(kind, BaseModel)]
            if not records:
                break
            fields = records[0].model_fields
        near = difflib.get_close_matches(str(location[-1]), fields, n=1, cutoff=0.0)
        return f"{near[0]!r}" if near else ""


class CLIPShape(StrictConfig):
    """Sizes of the CLIP backbone; heads are width / 64, as in every released ViT-B.

    The defaults are those of ViT-B/32.
    """

    image_size: int = Field(224, ge=16)
    patch_size: int = Field(32, ge=4)
    vision_width: int = Field(768, ge=64)
    vision_layers: int = Field(12, ge=1)
    text_width: int = Field(512, ge=64)
    text_layers: int = Field(12, ge=1)
    vocabulary: int = Field(49408, ge=3)
    text_positions: int = Field(77, ge=4)

    @field_validator("vision_width", "text_width")
    @classmethod
    def _whole_heads(cls, width: int) -> int:
        if width % 64:
            raise ValueError("must be a multiple of 64, the width of an attention head")
        return width

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        if self.image_size % self.patch_size:
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        return self

    @property
    def grid(self) -> int:
        """Patches along one side of a frame."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """M, the tokens of one frame: the class token and the patches."""
        return self.grid**2 + 1


class RetrievalConfig(StrictConfig):
    """What the doors of any model need to know; the letters are the glossary's."""

    name: str = "untitled"
    clip: CLIPShape = CLIPShape()
    width: int = Field(512, ge=8)
    frames: int = Field(12, ge=1)
    max_words: int = Field(32, ge=4)
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD

    @model_validator(mode="after")
    def _words_have_positions(self) -> Self:
        if self.max_words > self.clip.text_positions:
            raise ValueError(
                f"max_words {self.max_words} beyond the {self.clip.text_positions} text positions"
            )
        return self

    @property
    def image_size(self) -> int:
        """R, the side in pixels of the square that the model looks at."""
        return self.clip.image_size


class TokenShiftConfig(RetrievalConfig):
    """A model whose last vision blocks see tokens of neighbouring frames; see `model/token_shift.py`."""

    token_shift_blocks: tuple[int, ...] = (10, 11)
    token_shift_divisions: int = Field(7, ge=1)

    @model_validator(mode="after")
    def _shift_fits(self) -> Self:
        beyond = [block for block in self.token_shift_blocks if not 0 <= block < self.clip.vision_layers]
        if beyond:
            raise ValueError(
                f"token_shift_blocks {beyond} beyond the {self.clip.vision_layers} vision layers"
            )
        if self.token_shift_blocks and self.clip.tokens < self.token_shift_divisions:
            raise ValueError(
                f"token_shift_divisions {self.token_shift_divisions} beyond {self.clip.tokens} tokens"
            )
        return self


class ModelConfig(TokenShiftConfig):
    """A ProST model: everything that the paper varies, and the quirks that a checkpoint fixes.

    The letters are the glossary's: D `width`, L `frames`, N_o `object_prototypes`, N_p `phrase_prototypes`,
    N_e `event_prototypes`.
    """

    architecture: Literal["prost"] = "prost"
    name: str = "prost"
    object_prototypes: int = Field(12, ge=2)
    phrase_prototypes: int = Field(28, ge=1)
    event_prototypes: int = Field(3, ge=1)
    frame_layers: int = Field(2, ge=1)
    event_layers: int = Field(2, ge=1)
    window: float = Field(0.2, ge=0.0, le=1.0)
    object_phrase_weight: float = Field(1.5, ge=0.0)
    mask_padding: bool = True
    sparse_weights: Literal["relu", "softmax"] = "softmax"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        MissingPath: there is no such file.
        BadConfig: the file is no JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPath(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is no JSON ({error})") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path} holds a {type(values).__name__}", "a JSON object")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the keys and values of a recipe, or of a grid of recipes.

    Raises:
        MissingPath: there is no such file.
        BadConfig: the file is no YAML, or holds something else.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPath(f"recipe {path} does not exist", suggestion="see the folder recipes") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # YAML errors take several lines
        raise BadConfig(f"{path} is no YAML ({reason})") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path} holds a {type(values).__name__}", "keys and values")
    return values
