"""Matching (supplement, Algorithm 1): two scores of a sentence and a video, and their weighted sum."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, fields
from typing import Self

import torch
from torch import Tensor

from prost.errors import UsageError

# Cosines held at once while scoring a gallery: 2**26 floats are 256 MiB.
COSINES_AT_ONCE = 2**26


class Record:
    """A batch of prototypes or scores that shows shapes, not numbers."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """The same record with every tensor changed; a part that is None stays None."""
        tensors = {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{name: None if tensor is None else change(tensor) for name, tensor in tensors.items()}
        )

    def tensors(self) -> list[Tensor]:
        """The parts that are there, in order."""
        parts = (getattr(self, part.name) for part in fields(self))  # type: ignore[arg-type]
        return [part for part in parts if part is not None]

    def float(self) -> Self:
        """The same record in float32."""
        return self.mapped(Tensor.float)

    def __repr__(self) -> str:
        shapes = (f"{part.name}={_shape(getattr(self, part.name))}" for part in fields(self))  # type: ignore[arg-type]
        return f"{type(self).__name__}({', '.join(shapes)})"


def _shape(value: Tensor | None) -> list[int] | None:
    return None if value is None else list(value.shape)


def expect(name: str, tensor: Tensor, dimensions: int, form: str) -> None:
    """Refuse a tensor of another number of dimensions."""
    if tensor.ndim != dimensions:
        raise UsageError(f"{name} of shape {list(tensor.shape)}", form)


@dataclass(frozen=True, repr=False)
class TextPrototypes(Record):
    """What a batch of sentences becomes, unnormalised.

    Attributes:
        phrase: phrase prototypes `[B, N_p, D]`.
        sentence: sentence prototypes `[B, D]`.
    """

    phrase: Tensor
    sentence: Tensor

    def __post_init__(self) -> None:
        expect("phrase prototypes", self.phrase, 3, "[B, N_p, D]")
        expect("sentence prototypes", self.sentence, 2, "[B, D]")
        if self.phrase.shape[::2] != self.sentence.shape:
            raise UsageError(f"{self!r}", "phrase [B, N_p, D] and sentence [B, D] of the same B and D")

    def __len__(self) -> int:
        return len(self.sentence)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        return type(self)(self.phrase[rows], self.sentence[rows])


@dataclass(frozen=True, repr=False)
class VideoPrototypes(Record):
    """What a batch of videos becomes, unnormalised.

    Attributes:
        object: object prototypes `[B, L, N_o, D]`; slot 0 is the class token of the frame.
        event: event prototypes `[B, N_e, D]`.
        event_attention: how each event attended to the frames `[B, N_e, L]`, rows sum to 1 (evidence, not matched on);
            None where it was not kept.
    """

    object: Tensor
    event: Tensor
    event_attention: Tensor | None = None

    def __post_init__(self) -> None:
        expect("object prototypes", self.object, 4, "[B, L, N_o, D]")
        expect("event prototypes", self.event, 3, "[B, N_e, D]")
        if self.object.shape[::3] != self.event.shape[::2]:
            raise UsageError(f"{self!r}", "object [B, L, N_o, D] and event [B, N_e, D] of the same B and D")

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, rows: slice | Tensor) -> Self:
        attention = None if self.event_attention is None else self.event_attention[rows]
        return type(self)(self.object[rows], self.event[rows], attention)


@dataclass(frozen=True, repr=False)
class Similarity(Record):
    """Scores of texts (rows) and videos (columns), on the scale of cosines.

    Attributes:
        total: `[B_text, B_video]`, what is ranked by.
        object_phrase: `[B_text, B_video]`, or None for a model without this part.
        event_sentence: `[B_text, B_video]`, or None for a model without this part.
    """

    total: Tensor
    object_phrase: Tensor | None = None
    event_sentence: Tensor | None = None


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors to length one; a zero vector stays zero and receives a zero gradient.

    Args:
        vectors: `[..., D]`.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    square = vectors.square().sum(dim=-1, keepdim=True)
    alive = square > 0
    return vectors * torch.where(alive, square, 1.0).rsqrt() * alive


def object_phrase_score(phrase: Tensor, object: Tensor) -> Tensor:
    """Mean over object slots of the best cosine over frames and phrases: Algorithm 1, spatial matching.

    Args:
        phrase: phrase prototypes `[A, N_p, D]`, of any length.
        object: object prototypes `[B, L, N_o, D]`, of any length.

    Returns:
        `[A, B]`, in [-1, 1].

    One phrase; one frame with two slots, of cosines 1 and 0:

    >>> phrase = torch.tensor([[[1.0, 0.0]]])
    >>> object = torch.tensor([[[[2.0, 0.0], [0.0, 3.0]]]])
    >>> object_phrase_score(phrase, object).tolist()
    [[0.5]]
    """
    texts, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    columns = unit(object).reshape(-1, width).T  # [D, B*L*N_o]
    rows_at_once = max(1, COSINES_AT_ONCE // max(1, phrases * columns.shape[1]))
    scores = []
    for block in unit(phrase).split(rows_at_once):
        cosines = block.reshape(-1, width) @ columns  # [a*N_p, B*L*N_o]
        # The maximum over phrases comes first, before anything is summed: see docs/glossary.md, object-phrase score.
        best = cosines.view(len(block), phrases, -1).amax(dim=1)  # [a, B*L*N_o]
        scores.append(best.view(len(block), videos, frames, slots).amax(dim=2).mean(dim=2))
    return torch.cat(scores) if scores else phrase.new_zeros(texts, videos)


def event_sentence_score(sentence: Tensor, event: Tensor) -> Tensor:
    """Best cosine over events: Algorithm 1, temporal matching.

    Args:
        sentence: sentence prototypes `[A, D]`, of any length.
        event: event prototypes `[B, N_e, D]`, of any length.

    Returns:
        `[A, B]`, in [-1, 1].

    >>> event_sentence_score(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    tensor([[0.7071]])
    """
    videos, events, width = event.shape
    cosines = unit(sentence) @ unit(event).reshape(-1, width).T  # [A, B*N_e]
    return cosines.view(len(sentence), videos, events).amax(dim=2)


def match(text: TextPrototypes, video: VideoPrototypes, object_phrase_weight: float = 1.5) -> Similarity:
    """Score every text against every video.

    Args:
        text: prototypes of A texts.
        video: prototypes of B videos.
        object_phrase_weight: 1.5 is what the authors rank by in ModelScope; their GitHub code selects with 1.

    Raises:
        UsageError: prototypes of different width.
    """
    if text.sentence.shape[-1] != video.event.shape[-1]:
        raise UsageError(
            f"text prototypes of width {text.sentence.shape[-1]}, video prototypes of width {video.event.shape[-1]}",
            "prototypes of one model",
        )
    object_phrase = object_phrase_score(text.phrase, video.object)
    event_sentence = event_sentence_score(text.sentence, video.event)
    return Similarity(event_sentence + object_phrase_weight * object_phrase, object_phrase, event_sentence)
