"""A model of open_clip as a backbone: for models that are not built of CLIP's towers, such as PE-Core."""

from __future__ import annotations

import json
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor, nn

from prost.config import CLIPShape
from prost.errors import CheckpointError, UsageError, install_extra
from prost.model.clip import CLIPBackbone

CONFIG = "open_clip_config.json"


def build_open_clip(model: dict[str, Any]) -> nn.Module:
    """Make a model of open_clip with random weights; nothing is downloaded.

    Args:
        model: `model_cfg` of an `open_clip_config.json`.

    Raises:
        UsageError: open_clip is not installed, or torchvision does not fit the installed torch.
        CheckpointError: open_clip cannot make the model.
    """
    try:
        import open_clip
    except ImportError:
        raise UsageError(
            "the model needs open_clip, which is not installed",
            suggestion=install_extra("openclip"),
        ) from None
    except RuntimeError as error:
        raise UsageError(
            f"open_clip cannot be imported ({error})",
            "torch and torchvision of one release and one build",
            "install both from the same index",
        ) from None
    with TemporaryDirectory(prefix="prost-open-clip-") as folder:
        (Path(folder) / CONFIG).write_text(json.dumps({"model_cfg": model}), encoding="utf-8")
        try:
            # On the CPU even within a context of another device: buffers that no file holds must have their values.
            with torch.device("cpu"):
                made: nn.Module = open_clip.create_model(
                    f"local-dir:{folder}", load_weights=False, pretrained_text=False
                )
        except (TypeError, ValueError, KeyError, RuntimeError, AssertionError, OSError) as error:
            raise CheckpointError(
                f"open_clip cannot make the model ({' '.join(str(error).split())})"
            ) from None
    return made


class OpenClipBackbone(CLIPBackbone):
    """Pixels and words to one token each.

    Args:
        shape: the size of a frame, the vocabulary and the text positions; nothing else of it is read.
        model: `model_cfg` of an `open_clip_config.json`.
    """

    towers: Any

    def __init__(self, shape: CLIPShape, model: dict[str, Any]) -> None:
        nn.Module.__init__(self)  # without CLIP's towers
        self.towers = build_open_clip(model)
        self.shape = shape
        self.shift_blocks = frozenset()
        self.shift_divisions = 1
        self.activation_checkpointing = False

    @property
    def reads_padding(self) -> bool:
        """Whether padded positions of a text are read: which one is pooled is up to open_clip."""
        return True

    def below_shift(self, frames: Tensor, class_tokens_only: bool = True) -> Tensor:
        """Embed frames `[N, 3, R, R]`: `[N, 1, D]`. There are no other tokens than that of the frame."""
        embedded: Tensor = self.towers.encode_image(frames)
        return embedded[:, None]

    def from_shift(self, states: Tensor, class_tokens_only: bool = True) -> Tensor:
        """Frame tokens `[B, L, 1, D]` as they are: no frame sees another."""
        return states

    def word_tokens(self, input_ids: Tensor, attention_mask: Tensor) -> Tensor:
        """Embed texts `[B, T]`: `[B, 1, D]`, one token for the whole text."""
        embedded: Tensor = self.towers.encode_text(input_ids)
        return embedded[:, None]

    def sentence_token(self, words: Tensor, attention_mask: Tensor) -> Tensor:
        """The one token of each text: `[B, 1, D]` to `[B, D]`."""
        return words[:, 0]
