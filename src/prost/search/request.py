"""What a search by pictures is asked for."""

from __future__ import annotations

from dataclasses import dataclass

from prost.errors import UsageError
from prost.model.matching import TextPrototypes
from prost.search.rerank import RECALL

SCAN, INDEX, EXACT = "scan", "index", "exact"
COARSE = (SCAN, INDEX, EXACT)


@dataclass(frozen=True, kw_only=True)
class Request:
    """What to search for.

    Attributes:
        text: prototypes of one sentence, on the CPU.
        words: of the sentence, see `confidence.number_of_words`; says nothing where there is no sentence.
        object_phrase_weight: of the model's configuration.
        limit: hits at most.
        per_video: moments of a hit at most.
        where: an expression over the videos.
        coarse: how candidates are chosen; None chooses what suits the library.
        recall: expected fraction of the best clips that is found.
        all_duplicates: whether files that show the film of a better hit are hits as well.
        with_confidence: whether the scores of hits are compared with those of unrelated sentences.
        joint: whether the joint scorer of the model, if it has one, orders the best videos.
    """

    text: TextPrototypes
    object_phrase_weight: float
    limit: int
    per_video: int
    words: int = 1
    where: str | None = None
    coarse: str | None = None
    recall: float = RECALL
    all_duplicates: bool = False
    with_confidence: bool = True
    joint: bool = True

    def __post_init__(self) -> None:
        for name, value in (("limit", self.limit), ("per_video", self.per_video)):
            if value < 1:
                raise UsageError(f"{name} {value}", "1 or more")
        if self.coarse is not None and self.coarse not in COARSE:
            raise UsageError(f"coarse {self.coarse!r}", "scan, index or exact", "leave it out")
        if not 0 < self.recall <= 1:
            raise UsageError(f"recall {self.recall:g}", "above 0, at most 1")
