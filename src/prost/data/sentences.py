"""All sentences of a set of clips, and of which clips they may be true: for training that compares with wrong clips.

A sentence can be true of other clips than its own. A clip that counts as wrong must not be one of them.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Sequence

import numpy as np

from prost.data.batches import generator_of
from prost.data.clip_sets import ClipSet, RecordClips, ToyboxClipSet
from prost.data.toybox import holds


class Sentences(ABC):
    """S sentences.

    Attributes:
        texts: the sentences `[S]`.
        clip: place of the clip that each belongs to, int64 `[S]`.
    """

    def __init__(self, texts: Sequence[str], clip: Sequence[int]) -> None:
        self.texts, self.clip = list(texts), np.array(clip, dtype=np.int64)

    def __len__(self) -> int:
        return len(self.texts)

    @abstractmethod
    def may_be_true(self, sentence: int, place: int) -> bool:
        """Whether a sentence may be true of the clip at a place."""


def sentences_of(clips: ClipSet, most: int, seed: int) -> Sentences:
    """Up to `most` sentences of each clip; the seed draws those of Toybox, and chooses among many captions.

    Raises:
        TypeError: another kind of set.
    """
    if isinstance(clips, ToyboxClipSet):
        return _DrawnSentences(clips, most, seed)
    if isinstance(clips, RecordClips):
        return _Captions(clips, most, seed)
    raise TypeError(f"{type(clips).__name__} has no sentences")


class _DrawnSentences(Sentences):
    """Sentences of drawn scenes, whose claims tell what they are true of."""

    def __init__(self, clips: ToyboxClipSet, most: int, seed: int) -> None:
        rng = generator_of(seed, "sentences")
        captions = [
            (clip.describe(rng), place) for place, clip in enumerate(clips.clips) for _ in range(most)
        ]
        super().__init__([caption.text for caption, _ in captions], [place for _, place in captions])
        self._claims = [caption.claims for caption, _ in captions]
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
