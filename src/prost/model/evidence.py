"""Evidence: why a sentence and a clip have the score that they have.

Object and phrase prototypes are weighted sums of patches and words. Their cosine is therefore a sum over pairs of a
patch and a word, and so is the object-phrase score:

    <o, p> / |o||p|  =  sum over patches m and words t of  w[m] v[t] <patch m, word t> / |o||p|

Nothing here is an approximation: the parts add up to the score. What they cannot tell is what a patch token itself has
taken up from other patches in the vision tower's attention. Event prototypes are made by two attention decoders; the
curve of an event is the attention of its last layers, multiplied through both decoders down to the frames (Abnar and
Zuidema 2020 call this attention rollout), and no part of the sum.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.config import MatchingRule
from prost.model.encoding import VideoEncoder
from prost.model.matching import TextPrototypes, VideoPrototypes, expect_rule
from prost.model.object_phrase import best_phrases
from prost.model.prost import ProST
from prost.model.retrieval_model import RetrievalModel
from prost.model.tokenizer import Word
from prost.model.vectors import unit
from prost.video.fit import MIDDLE, Fit

# Two event prototypes whose cosine exceeds this are one for all that a score can tell.
COINCIDE = 0.999
# The rules of matching whose scores are sums of what the slots add.
EXPLAINED_RULES: tuple[MatchingRule, ...] = ("best_cosine",)


class WordShare(NamedTuple):
    """A word behind a phrase prototype.

    Attributes:
        word: index into `Evidence.words`.
        share: of the phrase's weights; those of all words sum to 1.
    """

    word: int
    share: float


@dataclass(frozen=True, kw_only=True)
class SlotEvidence:
    """What an object slot adds to the score: the best frame and phrase for it.

    Attributes:
        slot: index; slot 0 is the class token, the whole frame.
        phrase: index of the phrase prototype that won.
        frame: index of the frame that won.
        time: of that frame, seconds.
        cosine: of the two prototypes.
        share: what it adds to the score: weight * cosine / N_o.
        words: behind the phrase, the largest share first; empty where the model does not tell.
    """

    slot: int
    phrase: int
    frame: int
    time: float
    cosine: float
    share: float
    words: tuple[WordShare, ...]


class PhraseShare(NamedTuple):
    """The object slots whose phrases are about the same words.

    Attributes:
        words: as `Evidence.phrase_words` tells them; empty where the model does not tell.
        share: what the slots add to the score.
        slots: in order.
    """

    words: str
    share: float
    slots: tuple[SlotEvidence, ...]

    @property
    def best(self) -> SlotEvidence:
        """The slot that adds most."""
        return max(self.slots, key=lambda slot: slot.share)


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Why a sentence and a clip have their score; `score` is the event-sentence score plus the shares of all slots.

    Heat is in units of the object-phrase score. Patches are the vision tower's grid `[G, G]`, top row first.

    Attributes:
        query: the sentence.
        words: what the model read of it; see `Word`.
        times: of the frames `[L]`, seconds.
        fit: how their pictures became square.
        place: of the square along the long side of the picture; see `prost.video.fit`.
        score: event-sentence + weight * object-phrase.
        event_sentence: cosine of the sentence with the event that won.
        object_phrase: mean cosine of the slots.
        object_phrase_weight: weight of the object-phrase score.
        slots: one for each object slot, in order.
        frame_scores: object-phrase score that each frame would have alone `[L]`.
        heat: what each patch adds to `frame_scores` `[L, G, G]`; the class token of the frame adds the rest. None where
            the model does not tell.
        word_heat: the same split by words `[W, L, G, G]`; its sum over the words is `heat`.
        phrase_heat: what each patch adds to the mean cosine of the slots with one phrase `[N_p, L, G, G]`.
        winner: index of the event that won.
        event_cosines: of the sentence with each event `[N_e]`.
        events: attention of each event to the frames `[N_e, L]`, rows sum to 1; None where the model does not tell.
        events_coincide: whether all event prototypes are the same in direction, so that their curves tell nothing.
        without: score that is lost when a word is left out `[W]`; NaN where nothing else would be left.
        joint_score: probability that the sentence and the clip belong together, by the joint scorer. It is no part of
            the score, and is not split. None for a model without one.
    """

    query: str
    words: tuple[Word, ...]
    times: NDArray[np.float64]
    fit: Fit
    place: float
    score: float
    event_sentence: float
    object_phrase: float
    object_phrase_weight: float
    slots: tuple[SlotEvidence, ...]
    frame_scores: NDArray[np.float32]
    heat: NDArray[np.float32] | None
    word_heat: NDArray[np.float32] | None
    phrase_heat: NDArray[np.float32] | None
    winner: int
    event_cosines: NDArray[np.float32]
    events: NDArray[np.float32] | None
    events_coincide: bool
    without: NDArray[np.float32]
    joint_score: float | None

    def phrase_words(self, slot: SlotEvidence, least: float = 0.1) -> str:
        """The words behind a slot's phrase in the order of the sentence, as far as their share is `least` or more."""
        kept = sorted(each.word for each in slot.words if each.share >= least and self.words[each.word].text)
        return " ".join(self.words[each].text for each in kept)

    def by_phrase(self) -> list[PhraseShare]:
        """The slots by the words of their phrases, the largest share first."""
        groups: dict[str, list[SlotEvidence]] = {}
        for slot in self.slots:
            groups.setdefault(self.phrase_words(slot), []).append(slot)
        shares = (
            PhraseShare(words, sum(slot.share for slot in slots), tuple(slots))
            for words, slots in groups.items()
        )
        return sorted(shares, key=lambda each: -each.share)

    def word_shares(self) -> NDArray[np.float64] | None:
        """What each word adds to the score through the object-phrase part `[W]`; None where the model does not tell.

        The share of a slot is split by the weights of the words in its phrase, so that the sum over the words is
        weight * object-phrase.
        """
        if not any(slot.words for slot in self.slots):
            return None
        shares = np.zeros(len(self.words))
        for slot in self.slots:
            for word in slot.words:
                shares[word.word] += slot.share * word.share
        return shares

    def to_dict(self) -> dict[str, Any]:
        """Plain values for JSON, without the maps."""
        return {
            "query": self.query,
            "score": self.score,
            "event_sentence": self.event_sentence,
            "object_phrase": self.object_phrase,
            "object_phrase_weight": self.object_phrase_weight,
            "joint_score": self.joint_score,
            "times": self.times.tolist(),
            "fit": self.fit,
            "place": self.place,
            "slots": [
                {
                    "slot": slot.slot,
                    "phrase": slot.phrase,
                    "words": [
                        {"word": self.words[each.word].text, "share": each.share}
                        for each in slot.words
                        if self.words[each.word].text
                    ],
                    "frame": slot.frame,
                    "time": slot.time,
                    "cosine": slot.cosine,
                    "share": slot.share,
                }
                for slot in self.slots
            ],
            "frame_scores": self.frame_scores.tolist(),
            "winner": self.winner,
            "event_cosines": self.event_cosines.tolist(),
            "events": None if self.events is None else self.events.tolist(),
            "events_coincide": self.events_coincide,
            "words": [
                {"word": word.text, "lost_without": None if np.isnan(lost) else float(lost)}
                for word, lost in zip(self.words, self.without, strict=True)
                if word.text
            ],
        }


def explain_clip(
    model: RetrievalModel[TextPrototypes, VideoPrototypes],
    query: str,
    frames: NDArray[np.uint8],
    times: NDArray[np.float64],
    *,
    fit: Fit = "crop",
    place: float = MIDDLE,
) -> Evidence:
    """Find out why a sentence and a clip have their score.

    Args:
        model: one that makes prototypes.
        query: a sentence.
        frames: of the clip, uint8 `[L, R, R, 3]`.
        times: of the frames `[L]`, seconds.
        fit: how their pictures became square; only noted.
        place: of the square along the long side of the picture; only noted.

    Raises:
        EmptyQuery: a sentence without a word.
        NeedsTokenizer: the model came without a vocabulary.
        UsageError: frames that the model does not take, or a model that matches by another rule.
    """
    expect_rule(model.config, EXPLAINED_RULES, "evidence")
    weight: float = model.config.object_phrase_weight  # type: ignore[attr-defined]
    words = model.split_words(query)
    with torch.inference_mode():
        ids, mask = (part.to(model.device) for part in model.tokenize([query]))
        tokens = VideoEncoder(model).frame_tokens(frames[None])
        video, text = model.video_head(tokens), model.text_prototypes(ids, mask)
        similarity = model.match(text, video)
        best = best_phrases(text.phrase, video.object)
        weighed = _weighed_words(model, ids, mask, words)
        cosines, phrases = best.score[0, 0], best.phrase[0, 0]  # [L, N_o]
        winners = cosines.argmax(dim=0)  # [N_o]
        shares = [
            () if weighed is None else _shares(weighed, phrase) for phrase in range(text.phrase.shape[1])
        ]
        maps = None
        if weighed is not None and (patches := model.object_weights(tokens)) is not None:
            maps = _maps(tokens[0], patches[0], video.object[0], weighed, text.phrase[0], phrases)
        curves = model.event_curves(video)
        events = unit(video.event[0])
        event_cosines = events @ unit(text.sentence[0])
        assert similarity.object_phrase is not None and similarity.event_sentence is not None
        return Evidence(
            query=query,
            words=tuple(words),
            times=times,
            fit=fit,
            place=place,
            score=similarity.total.item(),
            event_sentence=similarity.event_sentence.item(),
            object_phrase=similarity.object_phrase.item(),
            object_phrase_weight=weight,
            slots=tuple(
                SlotEvidence(
                    slot=slot,
                    phrase=(phrase := int(phrases[frame, slot])),
                    frame=frame,
                    time=float(times[frame]),
                    cosine=(cosine := cosines[frame, slot].item()),
                    share=weight * cosine / len(winners),
                    words=shares[phrase],
                )
                for slot, frame in enumerate(winners.tolist())
            ),
            frame_scores=_array(cosines.mean(dim=1)),
            heat=None if maps is None else _array(maps.words.sum(dim=0)),
            word_heat=None if maps is None else _array(maps.words),
            phrase_heat=None if maps is None else _array(maps.phrases),
            winner=int(event_cosines.argmax()),
            event_cosines=_array(event_cosines),
            events=None if curves is None else _array(curves[0]),
            events_coincide=bool((events @ events.T).min() > COINCIDE),
            without=_lost_without(model, words, video, similarity.total.item()),
            joint_score=_joint_score(model, text, video),
        )


class _WeighedWords(NamedTuple):
    """Word tokens of one sentence, and their weights in the phrases.

    Attributes:
        tokens: `[T, D]`.
        weights: `[T, N_p]`.
        words: which positions each of the W words has, as a matrix `[W, T]` of zeros and ones.
    """

    tokens: Tensor
    weights: Tensor
    words: Tensor


class _Maps(NamedTuple):
    """Heat by words `[W, L, G, G]` and by phrases `[N_p, L, G, G]`."""

    words: Tensor
    phrases: Tensor


def _weighed_words(
    model: RetrievalModel[TextPrototypes, VideoPrototypes], ids: Tensor, mask: Tensor, words: Sequence[Word]
) -> _WeighedWords | None:
    weighed = model.phrase_weights(ids, mask)
    if weighed is None:
        return None
    tokens, weights = weighed[0][0], weighed[1][0]
    # Padding takes part in the authors' models: it counts as part of the last word, the end token.
    positions = torch.zeros(len(words), len(tokens), device=tokens.device)
    for row, word in enumerate(words):
        positions[row, list(word.positions)] = 1.0
    positions[-1, int(mask.sum()) :] = 1.0
    return _WeighedWords(tokens, weights, positions)


def _shares(weighed: _WeighedWords, phrase: int) -> tuple[WordShare, ...]:
    """Words behind a phrase, the largest share first; none for a dead phrase."""
    weights = weighed.words @ weighed.weights[:, phrase]  # [W]
    total = weights.sum().item()
    if total == 0:
        return ()
    ranked = weights.argsort(descending=True, stable=True).tolist()
    return tuple(WordShare(word, weights[word].item() / total) for word in ranked if weights[word] > 0)


def _maps(
    tokens: Tensor, patches: Tensor, object: Tensor, weighed: _WeighedWords, phrase: Tensor, winners: Tensor
) -> _Maps:
    """Split cosines by patches and words.

    Args:
        tokens: frame tokens `[L, M, D]`.
        patches: weights of the tokens in the objects `[L, M, N_o]`.
        object: object prototypes `[L, N_o, D]`.
        weighed: the words of the sentence.
        phrase: phrase prototypes `[N_p, D]`.
        winners: the phrase that is best for each object `[L, N_o]`.
    """
    slots, grid = object.shape[1], round((tokens.shape[1] - 1) ** 0.5)
    of_object = patches * _inverse_lengths(object)[:, None]  # [L, M, N_o]
    of_phrase = weighed.weights * _inverse_lengths(phrase)  # [T, N_p]
    products = tokens[:, 1:] @ weighed.tokens.T  # [L, G*G, T]
    mean = of_object[:, 1:].sum(dim=2) / slots  # [L, G*G]
    phrases = torch.einsum("lm,lmt,tp->plm", mean, products, of_phrase)
    # Only the phrase that is best for an object counts, so the words weigh differently for each object.
    chosen = of_phrase[:, winners]  # [T, L, N_o]
    by_token = torch.einsum("lmo,tlo,lmt->tlm", of_object[:, 1:], chosen, products) / slots  # [T, L, G*G]
    words = torch.einsum("wt,tlm->wlm", weighed.words, by_token)
    return _Maps(words.unflatten(2, (grid, grid)), phrases.unflatten(2, (grid, grid)))


def _inverse_lengths(vectors: Tensor) -> Tensor:
    """One over the length of each vector `[...]`, 0 for a zero vector."""
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    return torch.where(lengths == 0, 0.0, 1 / torch.where(lengths == 0, 1.0, lengths))


def _lost_without(
    model: RetrievalModel[TextPrototypes, VideoPrototypes],
    words: Sequence[Word],
    video: VideoPrototypes,
    score: float,
) -> NDArray[np.float32]:
    """Score that is lost when a word is left out `[W]`."""
    lost = np.full(len(words), np.nan, dtype=np.float32)
    rows = [row for row, word in enumerate(words) if word.text and word.rest]
    if rows:
        ids, mask = (part.to(model.device) for part in model.tokenize([words[row].rest for row in rows]))
        shorter = model.match(model.text_prototypes(ids, mask), video).total[:, 0]
        lost[rows] = score - shorter.cpu().numpy()
    return lost


def _joint_score(
    model: RetrievalModel[TextPrototypes, VideoPrototypes], text: TextPrototypes, video: VideoPrototypes
) -> float | None:
    """That of one sentence and one clip; None for a model without a joint scorer."""
    if not isinstance(model, ProST) or model.joint_scorer is None:
        return None
    return model.joint_logits(text, video).sigmoid().item()


def _array(tensor: Tensor) -> NDArray[np.float32]:
    return tensor.float().cpu().numpy()
