"""Matching (supplement, Algorithm 1): two scores of a sentence and a video, and their weighted sum.

The first, over objects and phrases, is in `prost.model.object_phrase`; the second is the same of one phrase, the
sentence.
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, fields
from typing import Any, Self

from torch import Tensor

from prost.config import MatchingRule
from prost.errors import UsageError
from prost.model.object_phrase import object_phrase_score
from prost.model.vectors import expect


class Record:
    """A batch of prototypes or scores whose repr shows shapes, not numbers."""

    def mapped(self, change: Callable[[Tensor], Tensor]) -> Self:
        """Apply a function to every tensor of the record; a part that is None stays None."""
        tensors = {part.name: getattr(self, part.name) for part in fields(self)}  # type: ignore[arg-type]
        return type(self)(
            **{name: None if tensor is None else change(tensor) for name, tensor in tensors.items()}
        )

    def tensors(self) -> list[Tensor]:
        """The parts that are not None, in order."""
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


@dataclass(frozen=True, repr=False)
class TextPrototypes(Record):
    """Prototypes of a batch of sentences, unnormalised.

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
    """Prototypes of a batch of videos, unnormalised.

    Attributes:
        object: object prototypes `[B, L, N_o, D]`; slot 0 is the class token of the frame.
        event: event prototypes `[B, N_e, D]`.
        event_attention: attention of each event to the frames `[B, N_e, L]`, rows sum to 1; it is evidence and takes no
            part in matching. None where it was not kept.
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
        total: `[B_text, B_video]`, the score that videos are ranked by.
        object_phrase: `[B_text, B_video]`, or None for a model without this part.
        event_sentence: `[B_text, B_video]`, or None for a model without this part.
    """

    total: Tensor
    object_phrase: Tensor | None = None
    event_sentence: Tensor | None = None


def event_sentence_score(sentence: Tensor, event: Tensor) -> Tensor:
    """Best cosine over events: Algorithm 1, temporal matching.

    This is `object_phrase_score` of one phrase, the sentence, and one slot whose frames are the events.

    Args:
        sentence: sentence prototypes `[A, D]`, of any length.
        event: event prototypes `[B, N_e, D]`, of any length.

    Returns:
        `[A, B]`, in [-1, 1]; see `object_phrase_score`.

    Raises:
        UsageError: shapes that do not fit together.

    >>> import torch
    >>> event_sentence_score(torch.tensor([[1.0, 0.0]]), torch.tensor([[[0.0, 1.0], [1.0, 1.0]]]))
    tensor([[0.7071]])
    """
    expect("sentence prototypes", sentence, 2, "[A, D]")
    expect("event prototypes", event, 3, "[B, N_e, D]")
    return object_phrase_score(sentence[:, None], event[:, :, None])


_RULES: dict[MatchingRule, Callable[..., Tensor]] = {"best_cosine": object_phrase_score}


def expect_rule(config: Any, known: Collection[MatchingRule], what: str) -> None:
    """Refuse a model that matches by a rule for which something else was not made.

    Args:
        config: of the model.
        known: the rules that `what` knows.
        what: what would use the model's prototypes, for the message.

    Raises:
        UsageError: the model matches by another rule, or has no object-phrase score.
    """
    rule = getattr(config, "matching_rule", None)
    if rule not in known:
        by = "has no object-phrase score" if rule is None else f"matches by the rule {rule!r}"
        raise UsageError(f"model {config.name!r} {by}", f"a model that {what} knows: {', '.join(known)}")


def expect_kinds(text: Record, video: Record, kinds: tuple[type[Record], type[Record]]) -> None:
    """Check what is to be matched.

    Args:
        text: record of texts.
        video: record of videos.
        kinds: that the matching is for.

    Raises:
        UsageError: records of another architecture, or in another order.
    """
    if not (isinstance(text, kinds[0]) and isinstance(video, kinds[1])):
        raise UsageError(
            f"{type(text).__name__} against {type(video).__name__}",
            f"{kinds[0].__name__} against {kinds[1].__name__}",
            "texts and videos of one model, the texts first",
        )


def match(
    text: TextPrototypes,
    video: VideoPrototypes,
    object_phrase_weight: float = 1.5,
    *,
    rule: MatchingRule = "best_cosine",
    phrase_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    rounded: bool = False,
) -> Similarity:
    """Score every text against every video.

    Args:
        text: prototypes of A texts.
        video: prototypes of B videos.
        object_phrase_weight: 1.5 is what the authors rank by in ModelScope; their GitHub code selects with 1.
        rule: how the object-phrase score is computed.
        phrase_mask: see `object_phrase_score`.
        frame_mask: see `object_phrase_score`; events are made of all frames, and are not masked.
        rounded: see `object_phrase_score`; events and sentences stay exact, since they take little time.

    Returns:
        Scores `[A, B]`; A and B may be 0.

    Raises:
        UsageError: no prototypes, or of different width, masks of other shapes, an unknown rule, or rounded prototypes
            and a gradient.
    """
    expect_kinds(text, video, (TextPrototypes, VideoPrototypes))
    if rule not in _RULES:
        raise UsageError(f"matching rule {rule!r}", ", ".join(_RULES))
    if text.sentence.shape[-1] != video.event.shape[-1]:
        raise UsageError(
            f"text prototypes of width {text.sentence.shape[-1]}, video prototypes of width {video.event.shape[-1]}",
            "prototypes of one model",
        )
    object_phrase = _RULES[rule](
        text.phrase, video.object, phrase_mask=phrase_mask, frame_mask=frame_mask, rounded=rounded
    )
    event_sentence = event_sentence_score(text.sentence, video.event)
    return Similarity(event_sentence + object_phrase_weight * object_phrase, object_phrase, event_sentence)
