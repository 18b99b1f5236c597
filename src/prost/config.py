"""Configurations of models: saved beside the weights, and enough to rebuild the model from.

Every field is read by the code that it configures. An unknown key is an error that names the most similar known key.
The defaults are the paper's for MSR-VTT (supplement, implementation details).
"""

from __future__ import annotations

import difflib
import json
import math
from pathlib import Path
from types import NoneType, UnionType
from typing import Annotated, Any, ClassVar, Literal, Self, Union, get_args, get_origin

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator
from pydantic.fields import FieldInfo

from prost.errors import BadConfig, MissingPath, StorageError

CLIP_MEAN = (0.48145466, 0.4578275, 0.40821073)
CLIP_STD = (0.26862954, 0.26130258, 0.27577711)

# Upper bounds of sizes, far above those of any model in use: a typo or a damaged file must not fill the memory.
MOST_WIDTH = 16_384
MOST_LAYERS = 256
MOST_POSITIONS = 65_536
MOST_FRAMES = 1_024
MOST_PROTOTYPES = 256


# How the cosines of phrases and objects become a score; `prost.model.matching` computes it. A library searches, and
# evidence explains, only by the rules that it names itself, so that a rule added here is refused there until it is.
MatchingRule = Literal["best_cosine"]


def _is_union(annotation: Any) -> bool:
    """Whether a value may be of several types, None not counted."""
    if get_origin(annotation) not in (Union, UnionType):
        return False
    return len([kind for kind in get_args(annotation) if kind is not NoneType]) > 1


class StrictConfig(BaseModel):
    """A frozen record that refuses unknown keys."""

    model_config = ConfigDict(frozen=True, extra="forbid", allow_inf_nan=False)

    @classmethod
    def parse(cls, values: dict[str, Any], origin: str = "configuration", within: str = "") -> Self:
        """Build a configuration from plain values.

        Args:
            values: keys and values, as read from JSON or YAML.
            origin: where the values came from, for error messages.
            within: the key in `origin` under which the values are, for error messages.

        Raises:
            BadConfig: an unknown key (the most similar known key is named) or a value out of range.
        """
        try:
            return cls.model_validate(values)
        except ValidationError as error:
            errors = error.errors()
            # A misspelt key is reported as unknown and as missing; only the first tells why.
            first = next((one for one in errors if one["type"] == "extra_forbidden"), errors[0])
            location, reasons = first["loc"], [first["msg"].removeprefix("Value error, ")]
            # A value that may be of several types is told once for each, and the type stands behind its key.
            if cls._is_type(location):
                alike = [one for one in errors if one["loc"][:-1] == location[:-1]]
                location, reasons = location[:-1], [one["msg"] for one in alike]
            place = ".".join(str(part) for part in (within, *location) if part != "")
            if first["type"] == "extra_forbidden":
                raise BadConfig(
                    f"{origin}: unknown key {place!r}", suggestion=cls._nearest(first["loc"])
                ) from None
            reason = "; or: ".join(dict.fromkeys(reasons))
            if isinstance(
                first["input"], dict
            ):  # several fields do not fit each other, and the reason names them
                raise BadConfig(f"{origin}: {f'{place}: ' if place else ''}{reason}") from None
            raise BadConfig(f"{origin}: {place}: {reason} (got {first['input']!r})") from None

    @classmethod
    def _is_type(cls, location: tuple[int | str, ...]) -> bool:
        """Whether the last part of an error's location is one of the types of a value, and no key or position."""
        if len(location) < 2 or not isinstance(location[-1], str):
            return False
        *way, key = location[:-1]
        field = cls._fields_at(tuple(way)).get(str(key))
        return field is not None and _is_union(field.annotation)

    @classmethod
    def _fields_at(cls, location: tuple[int | str, ...]) -> dict[str, FieldInfo]:
        """The fields of the record at a location; none where there is no record."""
        fields = cls.model_fields
        for part in location:
            annotation = fields[str(part)].annotation if str(part) in fields else None
            inner = [kind for kind in (annotation, *get_args(annotation)) if isinstance(kind, type)]
            records = [kind for kind in inner if issubclass(kind, BaseModel)]
            if not records:
                return {}
            fields = records[0].model_fields
        return fields

    @classmethod
    def _nearest(cls, location: tuple[int | str, ...]) -> str:
        """Name the known key that is most similar to the last part of the location of an unknown key."""
        fields = cls._fields_at(location[:-1])
        near = difflib.get_close_matches(str(location[-1]), fields, n=1, cutoff=0.0)
        return f"{near[0]!r}" if near else ""


class TowerDesign(StrictConfig):
    """How a tower is built, apart from its sizes. The defaults are OpenAI's.

    Attributes:
        kind: `clip` is a pre-norm transformer with a class token (vision), or with a causal mask whose end token stands
            for the text; `siglip` sees everything, pools patches by attention, and reads a text's last position; `bert`
            (text only) is post-norm, masks padding, and reads the first position.
        head_width: of an attention head; a tower has width / `head_width` heads.
        mlp_width: inner width of the MLPs; None is four times the width of the tower.
        activation: of the MLPs; `gelu_tanh` is the approximation by a hyperbolic tangent.
        eps: of all norms.
    """

    kind: Literal["clip", "siglip", "bert"] = "clip"
    head_width: int = Field(64, ge=4, le=MOST_WIDTH)
    mlp_width: int | None = Field(None, ge=4, le=4 * MOST_WIDTH)
    activation: Literal["quick_gelu", "gelu", "gelu_tanh"] = "quick_gelu"
    eps: float = Field(1e-5, gt=0.0, lt=1.0)


# Channels and stride of a convolution of 3 x 3.
StemLayer = tuple[Annotated[int, Field(ge=1, le=MOST_WIDTH)], Annotated[int, Field(ge=1, le=3)]]


class CLIPShape(StrictConfig):
    """Sizes and design of the backbone's two towers. The defaults are those of ViT-B/32.

    Attributes:
        stem: channels and stride of each convolution before the patches. Released models have none; a small model that
            is trained from scratch learns shapes sooner with them (Xiao et al., Early Convolutions Help Transformers
            See Better, NeurIPS 2021). The product of the strides divides `patch_size`.
    """

    image_size: int = Field(224, ge=16, le=4096)
    patch_size: int = Field(32, ge=4, le=4096)
    stem: tuple[StemLayer, ...] = Field((), max_length=8)
    vision_width: int = Field(768, ge=4, le=MOST_WIDTH)
    vision_layers: int = Field(12, ge=1, le=MOST_LAYERS)
    text_width: int = Field(512, ge=4, le=MOST_WIDTH)
    text_layers: int = Field(12, ge=1, le=MOST_LAYERS)
    vocabulary: int = Field(49408, ge=3, le=2**22)
    text_positions: int = Field(77, ge=4, le=MOST_POSITIONS)
    vision: TowerDesign = TowerDesign()
    text: TowerDesign = TowerDesign()

    @model_validator(mode="after")
    def _whole_heads(self) -> Self:
        for name, width, tower in (
            ("vision_width", self.vision_width, self.vision),
            ("text_width", self.text_width, self.text),
        ):
            if width % tower.head_width:
                raise ValueError(
                    f"{name} {width} is not a multiple of {tower.head_width}, the width of an attention head"
                )
        if self.vision.kind == "bert":
            raise ValueError("vision.kind 'bert' is a text tower")
        return self

    @model_validator(mode="after")
    def _whole_patches(self) -> Self:
        # SigLIP leaves out what its patches do not cover at two sides: 6 of 384 pixels with patches of 14.
        if self.image_size < self.patch_size or (
            self.image_size % self.patch_size and self.vision.kind == "clip"
        ):
            raise ValueError(
                f"image_size {self.image_size} is not a multiple of patch_size {self.patch_size}"
            )
        if self.patch_size % self.stem_stride:
            raise ValueError(
                f"patch_size {self.patch_size} is not a multiple of {self.stem_stride}, "
                "the product of the strides of the stem"
            )
        return self

    @property
    def stem_stride(self) -> int:
        """By how much the stem shrinks the sides of a picture; 1 without a stem."""
        return math.prod(stride for _, stride in self.stem)

    @property
    def grid(self) -> int:
        """Number of patches along one side of a frame."""
        return self.image_size // self.patch_size

    @property
    def tokens(self) -> int:
        """M, the number of frame tokens of one frame: the class token (or what stands for it) and the patches."""
        return self.grid**2 + 1


class RetrievalConfig(StrictConfig):
    """Settings that every model has. Letters are those of the glossary: D `width`, L `frames`.

    `text_padding` is the id that fills a text up to `max_words`. `image_fit` is how pictures that are not square became
    square in the training of the vision tower; see `prost.video.fit`.
    """

    # Fields that change no prototype, so that the fingerprint leaves them out.
    BESIDE_PROTOTYPES: ClassVar[frozenset[str]] = frozenset({"name", "image_fit"})

    name: str = "untitled"
    clip: CLIPShape = CLIPShape()
    width: int = Field(512, ge=8, le=MOST_WIDTH)
    frames: int = Field(12, ge=1, le=MOST_FRAMES)
    max_words: int = Field(32, ge=4, le=MOST_POSITIONS)
    image_mean: tuple[float, float, float] = CLIP_MEAN
    image_std: tuple[float, float, float] = CLIP_STD
    image_fit: Literal["crop", "pad", "stretch"] = "crop"
    text_padding: int = Field(0, ge=0, le=2**22)

    @model_validator(mode="after")
    def _words_have_positions(self) -> Self:
        if self.max_words > self.clip.text_positions:
            raise ValueError(
                f"max_words {self.max_words} exceeds the {self.clip.text_positions} text positions"
            )
        if self.clip.text.kind == "siglip" and self.max_words != self.clip.text_positions:
            raise ValueError(
                f"max_words {self.max_words}: SigLIP reads its last position, so texts are padded to all "
                f"{self.clip.text_positions}"
            )
        if self.text_padding >= self.clip.vocabulary:
            raise ValueError(
                f"text_padding {self.text_padding} is not in the vocabulary of {self.clip.vocabulary}"
            )
        return self

    def prototype_choices(self) -> dict[str, Any]:
        """Plain values of all fields that change prototypes and differ from their default.

        Fields with the default are left out, so that a field added later does not change what older models hash to.
        """
        chosen = self.model_dump(mode="json", exclude=set(self.BESIDE_PROTOTYPES), exclude_defaults=True)
        return {**chosen, **self.model_dump(mode="json", include={"architecture"})}

    @property
    def image_size(self) -> int:
        """R, the side of a frame in pixels; frames are square."""
        return self.clip.image_size


class TokenShiftConfig(RetrievalConfig):
    """Settings of a model whose last vision blocks see tokens of neighbouring frames; see `model/token_shift.py`."""

    token_shift_blocks: tuple[int, ...] = (10, 11)
    token_shift_divisions: int = Field(7, ge=1, le=MOST_POSITIONS)

    @model_validator(mode="after")
    def _shift_fits(self) -> Self:
        beyond = [block for block in self.token_shift_blocks if not 0 <= block < self.clip.vision_layers]
        if beyond:
            raise ValueError(
                f"token_shift_blocks {beyond} exceed the {self.clip.vision_layers} vision layers"
            )
        if self.token_shift_blocks and self.clip.tokens < self.token_shift_divisions:
            raise ValueError(
                f"token_shift_divisions {self.token_shift_divisions} exceed the {self.clip.tokens} tokens"
            )
        return self


class JointScorerConfig(StrictConfig):
    """Sizes of a joint scorer, see `prost.model.joint_scorer`.

    Attributes:
        width: of its tokens, a multiple of 24, the width of an attention head.
        layers: of its transformer.
    """

    width: int = Field(96, ge=24, le=MOST_WIDTH, multiple_of=24)
    layers: int = Field(2, ge=1, le=MOST_LAYERS)


class ModelConfig(TokenShiftConfig):
    """Settings of a ProST model: everything that the paper varies, and what a checkpoint was trained with.

    Letters are those of the glossary: D `width`, L `frames`, N_o `object_prototypes`, N_p `phrase_prototypes`,
    N_e `event_prototypes`.

    `event_residual` adds a residual around the event decoder's self-attention. The authors' decoder has none, so that
    their weights need the default; without it, all events of a trained model are equal (decision 0053).

    `matching_rule` is `best_cosine`, the mean over object slots of the best cosine over frames and phrases.

    `joint_scorer` is the scorer that orders the best videos of a ranking again; None for a model without one.
    """

    BESIDE_PROTOTYPES: ClassVar[frozenset[str]] = frozenset(
        {"name", "image_fit", "matching_rule", "object_phrase_weight", "dropout", "joint_scorer"}
    )

    architecture: Literal["prost"] = "prost"
    name: str = "prost"
    object_prototypes: int = Field(12, ge=2, le=MOST_PROTOTYPES)
    phrase_prototypes: int = Field(28, ge=1, le=MOST_PROTOTYPES)
    event_prototypes: int = Field(3, ge=1, le=MOST_PROTOTYPES)
    frame_layers: int = Field(2, ge=1, le=MOST_LAYERS)
    event_layers: int = Field(2, ge=1, le=MOST_LAYERS)
    event_residual: bool = False
    window: float = Field(0.2, ge=0.0, le=1.0)
    matching_rule: MatchingRule = "best_cosine"
    object_phrase_weight: float = Field(1.5, ge=0.0, le=1000.0)
    mask_padding: bool = True
    sparse_weights: Literal["relu", "softmax"] = "softmax"
    dropout: float = Field(0.1, ge=0.0, lt=1.0)
    joint_scorer: JointScorerConfig | None = None


def read_json(path: Path) -> dict[str, Any]:
    """Read a JSON object from a file.

    Raises:
        MissingPath: the file does not exist.
        BadConfig: the file does not hold a JSON object.
    """
    try:
        values = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPath(f"{path} does not exist") from None
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise BadConfig(f"{path} is not valid JSON ({error})") from None
    if not isinstance(values, dict):
        raise BadConfig(f"{path} holds a {type(values).__name__}", "a JSON object")
    return values


def read_yaml(path: Path) -> dict[str, Any]:
    """Read the keys and values of a recipe, or of a grid of recipes.

    Raises:
        MissingPath: the file does not exist.
        BadConfig: the file is not YAML, or does not hold keys and values.
    """
    try:
        values: Any = yaml.safe_load(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise MissingPath(f"recipe {path} does not exist", suggestion="one of the folder recipes") from None
    except OSError as error:
        raise StorageError(f"{path} cannot be read ({error.strerror})") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        reason = " ".join(str(error).split())  # YAML errors take several lines
        raise BadConfig(f"{path} is not valid YAML ({reason})") from None
    if values is None:
        raise BadConfig(f"{path} is empty", "keys and values")
    if not isinstance(values, dict):
        raise BadConfig(f"{path} holds a {type(values).__name__}", "keys and values")
    return values
