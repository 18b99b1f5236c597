"""All sentences of a set of clips, and of which clips they may be true: for training that compares with wrong clips.

A sentence can be true of other clips than its own. A clip that counts as wrong must not be one of them. Some sentences
are almost true of their clip: one thing in them was changed, so that no clip is known to fit.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from prost.data.batches import generator_of
from prost.data.clip_sets import ClipSet, RecordClips, ToyboxClipSet
from prost.data.toybox import Caption, holds


class Sentences(ABC):
    """S sentences.

    Attributes:
        texts: the sentences `[S]`.
        clip: place of the clip that each belongs to, int64 `[S]`.
        true: whether it is true of that clip, bool `[S]`; otherwise it is almost true.
    """

    def __init__(self, texts: Sequence[str], clip: Sequence[int], true: Sequence[bool] | None = None) -> None:
        self.texts, self.clip = list(texts), np.array(clip, dtype=np.int64)
        self.true = np.ones(len(self.texts), dtype=bool) if true is None else np.array(true, dtype=bool)

    def __len__(self) -> int:
        return len(self.texts)

    @abstractmethod
    def may_be_true(self, sentence: int, place: int) -> bool:
        """Whether a sentence may be true of the clip at a place."""


def sentences_of(
    clips: ClipSet, most: int, seed: int, *, events: int = 0, almost_true: bool = False
) -> Sentences:
    """Sentences of each clip; the seed draws those of Toybox, and chooses among many captions.

    Args:
        clips: the set.
        most: true sentences of each clip at most.
        seed: draws or chooses them.
        events: of Toybox, sentences beside them that tell one event of a whole video.
        almost_true: of Toybox, add a sentence to each clip that is almost true of it.

    Raises:
        TypeError: another kind of set.
    """
    if isinstance(clips, ToyboxClipSet):
        return _DrawnSentences(clips, most, seed, events, almost_true)
    if isinstance(clips, RecordClips):
        return _Captions(clips, most, seed)
    raise TypeError(f"{type(clips).__name__} has no sentences")


class _DrawnSentences(Sentences):
    """Sentences of drawn scenes, whose claims tell what they are true of."""

    def __init__(self, clips: ToyboxClipSet, most: int, seed: int, events: int, almost_true: bool) -> None:
        rng = generator_of(seed, "sentences")
        told: list[tuple[Caption, int, bool]] = []
        for place, clip in enumerate(clips.clips):
            told += [(clip.describe(rng), place, True) for _ in range(most)]
            if clip.event is None:
                told += [(clip.describe_event(rng), place, True) for _ in range(events)]
            wrong = clip.describe_wrongly(rng) if almost_true else None
            if wrong is not None:
                told.append((wrong, place, False))
        captions, places, true = zip(*told, strict=True)
        super().__init__([caption.text for caption in captions], places, true)
        self._claims = [caption.claims for caption in captions]
        self._scenes = [clip.scene for clip in clips.clips]

    def may_be_true(self, sentence: int, place: int) -> bool:
        """Whether its claims hold in the scene that the clip is cut from."""
        return holds(self._claims[sentence], self._scenes[place])


class _Captions(Sentences):
    """Captions that people wrote: only equal texts are known to be true of the same."""

    def __init__(self, clips: RecordClips, most: int, seed: int) -> None:
        told = [clips.captions_in_turn(place, seed, 0)[:most] for place in range(len(clips))]
        super().__init__(
            [text for texts in told for text in texts],
            [place for place, texts in enumerate(told) for _ in texts],
        )
        self._captions = [set(record.captions) for record in clips.records]

    def may_be_true(self, sentence: int, place: int) -> bool:
        """Whether the clip has this caption, too."""
        return self.texts[sentence] in self._captions[place]
