"""Matching (supplement, Algorithm 1): two scores of a sentence and a video, and their weighted sum.

Every object-phrase score of the package is computed here: in training, in exact search over 8-bit codes, and as
evidence for a found moment. All cosines of a batch of 1,024 pairs would be a tensor `[A, B, L, N_o, N_p]` of 17 GB.
They are computed tile by tile instead: a matrix product of a few texts and a few videos, small enough to stay in the
processor's cache, and at once its maximum over phrases. The phrases are the leading dimension of a tile, so the
maximum runs along contiguous rows and costs little beside the product (decision 0027).
"""

from __future__ import annotations

import functools
import math
import time
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass, fields
from typing import Any, NamedTuple, Self

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from prost.config import MatchingRule
from prost.errors import UsageError

# Cosines of one tile, and components of the object prototypes that it is computed from: 8 MiB each in float32 on a
# processor, where they should stay in the cache, and 256 MiB on an accelerator, where few large products are best.
CPU_TILE, ACCELERATOR_TILE = 2**21, 2**26
# Lengths whose squares, and products with a direction, are well within the range of float32.
SHORTEST, LONGEST = 1e-15, 1e15
# Pairs of prototypes that the backward pass sorts at once, and components of object prototypes that it works on: 16 MiB
# for each tensor of indices, 8 MiB for one of float32 vectors.
PAIRS_AT_ONCE, COMPONENTS_AT_ONCE = 2**21, 2**21


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


def expect(name: str, tensor: Tensor, dimensions: int, form: str) -> None:
    """Raise a UsageError unless a tensor has this number of dimensions; `form` tells the expected shape."""
    if tensor.ndim != dimensions:
        raise UsageError(f"{name} of shape {list(tensor.shape)}", form)


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


class BestPhrases(NamedTuple):
    """The best phrase of each text for every object prototype.

    Attributes:
        score: cosine with the best phrase `[A, B, L, N_o]`.
        phrase: which phrase that is `[A, B, L, N_o]`, int64; the first one where several are equal.
    """

    score: Tensor
    phrase: Tensor


def unit(vectors: Tensor) -> Tensor:
    """Scale vectors to length one; a zero vector stays zero and receives a zero gradient.

    Vectors of any length are scaled right, also where the square of the length exceeds the range of the type. A vector
    with NaN or infinity becomes NaN.

    Args:
        vectors: `[..., D]`, of a floating type.

    >>> unit(torch.tensor([[3.0, 4.0], [0.0, 0.0]])).tolist()
    [[0.6000000238418579, 0.800000011920929], [0.0, 0.0]]
    """
    wide = vectors.float() if vectors.dtype in (torch.float16, torch.bfloat16) else vectors
    # Dividing by the largest component first keeps the square of the length within range. The result does not depend
    # on that divisor, so no gradient flows through it.
    constant = wide.detach()
    largest = torch.maximum(constant.amax(dim=-1, keepdim=True), -constant.amin(dim=-1, keepdim=True))
    scaled = wide / torch.where(largest == 0, 1.0, largest)
    length = torch.linalg.vector_norm(scaled, dim=-1, keepdim=True)
    zero = length == 0
    inverse = torch.where(zero, 0.0, 1 / torch.where(zero, 1.0, length))
    return (scaled * inverse).to(vectors.dtype)


def object_phrase_score(
    phrase: Tensor,
    object: Tensor,
    *,
    inverse_lengths: Tensor | None = None,
    phrase_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
) -> Tensor:
    """Mean over object slots of the best cosine over frames and phrases: Algorithm 1, spatial matching.

    A prototype with NaN or infinity makes all scores of its own text or video NaN, and no others. The gradient flows
    to the best phrase and the best frame of each slot; where several are equally good, to one of them. It needs the
    positions of these alone, so little memory is held between the passes.

    Args:
        phrase: phrase prototypes `[A, N_p, D]`, of any length.
        object: object prototypes `[B, L, N_o, D]`, of any length; or int8 codes.
        inverse_lengths: one over the length of each object prototype `[B, L, N_o]`, 0 for a zero vector. Given, they
            are not computed anew for videos that are scored again and again.
        phrase_mask: True for the phrases that count `[A, N_p]`. A text without any scores 0.
        frame_mask: True for the frames that count `[B, L]`. A video without any scores 0.

    Returns:
        `[A, B]`, in [-1, 1]: float64 if a prototype is float64, else float32. A and B may be 0.

    Raises:
        UsageError: shapes that do not fit together, or no phrase, frame, slot or component at all.

    One phrase; one frame with two slots, of cosines 1 and 0:

    >>> phrase = torch.tensor([[[1.0, 0.0]]])
    >>> object = torch.tensor([[[[2.0, 0.0], [0.0, 3.0]]]])
    >>> object_phrase_score(phrase, object).tolist()
    [[0.5]]
    """
    _check_shapes(phrase, object, inverse_lengths)
    if phrase_mask is not None:
        _check_mask("phrase", phrase_mask, phrase)
        phrase = _replace_masked(phrase, phrase_mask)
    if frame_mask is not None:
        _check_mask("frame", frame_mask, object)
        object = _replace_masked(object, frame_mask)
        inverse_lengths = None if inverse_lengths is None else _replace_masked(inverse_lengths, frame_mask)
    if torch.is_grad_enabled() and (phrase.requires_grad or object.requires_grad):
        return _ObjectPhrase.apply(phrase, object, inverse_lengths)
    return _score(phrase, object, inverse_lengths)[0]


def best_phrases(phrase: Tensor, object: Tensor, *, inverse_lengths: Tensor | None = None) -> BestPhrases:
    """The best phrase of each text for every object prototype: what `object_phrase_score` takes its maximum of.

    It has no gradient. Arguments and errors are those of `object_phrase_score`; all A * B * L * N_o results are kept,
    so it is meant for a few texts and videos.

    >>> phrase = torch.tensor([[[1.0, 0.0], [0.0, 1.0]]])
    >>> best_phrases(phrase, torch.tensor([[[[2.0, 0.0], [0.0, 3.0]]]])).phrase.tolist()
    [[[[0, 1]]]]
    """
    _check_shapes(phrase, object, inverse_lengths)
    shape = (len(phrase), *object.shape[:3])
    dtype = _result_dtype(phrase, object)
    score = torch.empty(shape, dtype=dtype, device=phrase.device)
    position = torch.empty(shape, dtype=torch.int64, device=phrase.device)
    for tile in _tiles(phrase, object, inverse_lengths):
        score[tile.texts, tile.videos] = tile.best.transpose(1, 2).to(dtype)
        position[tile.texts, tile.videos] = tile.cosines.argmax(dim=0).transpose(1, 2)
    return BestPhrases(score, position)


class _Tile(NamedTuple):
    """Some texts against some videos; the tensors are overwritten by the next tile.

    Attributes:
        texts, videos: slices of the a texts and b videos.
        cosines: with every phrase `[N_p, a, L, b, N_o]`; not divided yet by the lengths of the object prototypes.
        best: cosine with the best phrase `[a, L, b, N_o]`.
    """

    texts: slice
    videos: slice
    cosines: Tensor
    best: Tensor


@torch.no_grad()
def _tiles(phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> Iterator[_Tile]:
    """Cosines of all texts and videos and their maximum over phrases, tile by tile."""
    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    if not count or not videos:
        return
    dtype = _product_dtype(phrase, object)
    tile_texts, tile_videos = _tile_shape(phrase, object)
    columns = frames * slots
    # [N_p, a, D]: phrases lead, so that the maximum over them runs along contiguous rows.
    text_blocks = [
        unit(block.transpose(0, 1).to(torch.promote_types(phrase.dtype, dtype))).to(dtype).reshape(-1, width)
        for block in phrase.split(tile_texts)
    ]
    # One buffer each for all tiles: fresh memory would cost as much as the product.
    product = phrase.new_empty(phrases * tile_texts * tile_videos * columns, dtype=dtype)
    maximum = phrase.new_empty(tile_texts * tile_videos * columns, dtype=dtype)
    converted = phrase.new_empty(tile_videos * columns * width, dtype=dtype)
    for first_video in range(0, videos, tile_videos):
        block = object[first_video : first_video + tile_videos].transpose(0, 1)  # [L, b, N_o, D]
        vectors = converted[: block.numel()].view(block.shape).copy_(block)
        if inverse_lengths is None:
            inverse = _divide_later(vectors)
        else:
            inverse = inverse_lengths[first_video : first_video + tile_videos].transpose(0, 1).to(dtype)
        vectors = vectors.view(-1, width)
        for text_block, first_text in zip(text_blocks, range(0, count, tile_texts), strict=True):
            rows = len(text_block)
            cosines = product[: rows * len(vectors)].view(rows, len(vectors))
            # With `out`, autocast leaves the precision alone.
            torch.mm(text_block, vectors.T, out=cosines)
            best = maximum[: rows // phrases * len(vectors)]
            torch.amax(cosines.view(phrases, -1), dim=0, out=best)
            best = best.view(-1, *block.shape[:3])
            # Lengths are positive: the best phrase is the same before and after dividing by them.
            best.mul_(inverse)
            yield _Tile(
                slice(first_text, first_text + len(best)),
                slice(first_video, first_video + block.shape[1]),
                cosines.view(phrases, *best.shape),
                best,
            )


def _divide_later(vectors: Tensor) -> Tensor:
    """One over the length of each vector `[..., D]`, by which the maxima of its products are to be multiplied.

    This takes one pass over the vectors, where `unit` takes several. Vectors whose square or whose products would leave
    the range of the type are replaced, in place, by their directions; so are zero vectors and those with NaN or
    infinity.

    Returns:
        `[...]`; 1 for a vector that was replaced.
    """
    if vectors.dtype in (torch.float16, torch.bfloat16):
        # A rounded length would be one more error; these types are for accelerators and small products.
        return vectors.copy_(unit(vectors)).new_ones(vectors.shape[:-1])
    lengths = torch.linalg.vector_norm(vectors, dim=-1)
    usual = (lengths > SHORTEST) & (lengths < LONGEST)
    vectors[~usual] = unit(vectors[~usual])
    return torch.where(usual, lengths, 1.0).reciprocal_()


def _tile_shape(phrase: Tensor, object: Tensor) -> tuple[int, int]:
    """Texts and videos of a tile: about as many rows as columns, and no more of either than fit."""
    videos, frames, slots, width = object.shape
    texts, phrases = phrase.shape[:2]
    size = CPU_TILE if phrase.device.type == "cpu" else ACCELERATOR_TILE
    columns = frames * slots
    tile_texts = _clamp(round(math.sqrt(size) / phrases), texts)
    tile_videos = _clamp(min(size // (tile_texts * phrases * columns), size // (columns * width)), videos)
    # Long videos, or few of them, leave room for more texts.
    tile_texts = _clamp(size // (tile_videos * phrases * columns), texts)
    return tile_texts, tile_videos


def _clamp(size: int, largest: int) -> int:
    return max(1, min(size, largest))


def _score(
    phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None, *, with_winners: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Object-phrase scores `[A, B]`, and who won each slot.

    Winners are `[A, B, N_o]`, int32: number of the frame, times N_p, plus number of the phrase.
    """
    count, phrases, _ = phrase.shape
    videos, _, slots, _ = object.shape
    dtype = _result_dtype(phrase, object)
    scores = torch.empty(count, videos, dtype=dtype, device=phrase.device)
    winners = None
    if with_winners:
        winners = torch.empty(count, videos, slots, dtype=torch.int32, device=phrase.device)
    for tile in _tiles(phrase, object, inverse_lengths):
        best = tile.best.flatten(2)  # [a, L, b*N_o]
        if winners is None:
            slot_scores = best.amax(dim=1)
        else:
            slot_scores, frame = best.max(dim=1)  # [a, b*N_o]
            chosen = frame[None, :, None].expand(phrases, -1, -1, -1)
            winner = tile.cosines.flatten(3).gather(2, chosen).squeeze(2).argmax(dim=0)  # [a, b*N_o]
            winners[tile.texts, tile.videos] = (frame * phrases + winner).view(len(best), -1, slots).int()
        scores[tile.texts, tile.videos] = slot_scores.view(len(best), -1, slots).mean(dim=2, dtype=dtype)
    return scores, winners


class _ObjectPhrase(torch.autograd.Function):
    """`object_phrase_score` with a gradient. Beside its arguments it keeps the winners alone, four bytes a slot."""

    @staticmethod
    def forward(ctx: Any, phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> Tensor:
        scores, winners = _score(phrase, object, inverse_lengths, with_winners=True)
        ctx.save_for_backward(phrase, object, inverse_lengths, winners)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        phrase, object, inverse_lengths, winners = ctx.saved_tensors
        wants_phrase, wants_object = ctx.needs_input_grad[0], ctx.needs_input_grad[1]
        return *_gradients(
            gradients[0], phrase, object, inverse_lengths, winners, wants_phrase, wants_object
        ), None


def _gradients(
    gradient: Tensor,
    phrase: Tensor,
    object: Tensor,
    inverse_lengths: Tensor | None,
    winners: Tensor,
    wants_phrase: bool,
    wants_object: bool,
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of phrase and object prototypes from that of the scores.

    Each slot of each pair of a text and a video ties one phrase to one object. The gradient of a phrase is the weighted
    sum of the objects that it is tied to, and the other way round: two bags of embeddings.
    """
    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    if not count or not videos:
        return torch.zeros_like(phrase), torch.zeros_like(object)
    dtype, device = gradient.dtype, gradient.device
    directions = unit(phrase.to(dtype)).view(-1, width)  # [A*N_p, D]
    of_directions = torch.zeros_like(directions)
    of_object = torch.empty_like(object) if wants_object else None
    text = torch.arange(count, device=device)[:, None, None]
    slot = torch.arange(slots, device=device)
    step = max(1, min(PAIRS_AT_ONCE // (count * slots), COMPONENTS_AT_ONCE // (frames * slots * width)))
    for first in range(0, videos, step):
        block = slice(first, first + step)
        raw = object[block].to(dtype)
        vectors = unit(raw) if inverse_lengths is None else raw * inverse_lengths[block, :, :, None].to(dtype)
        frame, winner = winners[:, block] // phrases, winners[:, block] % phrases  # [A, b, N_o]
        video = torch.arange(len(raw), device=device)[:, None]
        rows = (text * phrases + winner).flatten()
        columns = ((video * frames + frame) * slots + slot).flatten()
        weights = (gradient[:, block, None] / slots).expand(winner.shape).flatten()
        if wants_phrase:
            of_directions += _bags(rows, columns, weights, vectors.view(-1, width), len(directions))
        if of_object is not None:
            of_vectors = _bags(columns, rows, weights, directions, len(raw) * frames * slots)
            of_object[block] = _through_unit(of_vectors.view(raw.shape), raw, vectors).to(object.dtype)
    of_phrase = None
    if wants_phrase:
        of_phrase = _through_unit(
            of_directions.view(phrase.shape), phrase.to(dtype), directions.view(phrase.shape)
        )
        of_phrase = of_phrase.to(phrase.dtype)
    return of_phrase, of_object


def _bags(bags: Tensor, members: Tensor, weights: Tensor, vectors: Tensor, count: int) -> Tensor:
    """Weighted sums of vectors `[count, D]`: pair k adds `weights[k] * vectors[members[k]]` to sum `bags[k]`."""
    bags, order = bags.sort()
    starts = torch.searchsorted(bags, torch.arange(count, device=bags.device))
    return embedding_bag(members[order], vectors, starts, per_sample_weights=weights[order], mode="sum")


def _through_unit(gradient: Tensor, vectors: Tensor, directions: Tensor) -> Tensor:
    """The gradient of vectors from that of their directions; 0 for a zero vector."""
    radial = (gradient * directions).sum(dim=-1, keepdim=True)
    # u = v / |v|, so <u, v> is the length; a component of u cannot exceed 1, and so the product stays within range.
    length = (directions * vectors).sum(dim=-1, keepdim=True)
    return torch.where(length == 0, 0.0, (gradient - radial * directions) / length)


def _replace_masked(vectors: Tensor, mask: Tensor) -> Tensor:
    """Put one that counts in the place of each that does not, which no maximum can tell; zeros if none counts.

    Args:
        vectors: `[n, m, ...]`.
        mask: `[n, m]`.
    """
    own = torch.arange(mask.shape[1], device=mask.device)
    source = torch.where(mask, own, mask.int().argmax(dim=1, keepdim=True))
    replaced = vectors[torch.arange(len(mask), device=mask.device)[:, None], source]
    none = ~mask.any(dim=1).view(-1, *(1 for _ in vectors.shape[1:]))
    return replaced.masked_fill(none, 0)


def _product_dtype(phrase: Tensor, object: Tensor) -> torch.dtype:
    """The type in which cosines are computed: float32 unless the prototypes are float64, or half and best left so."""
    if not object.is_floating_point():
        return torch.float64 if phrase.dtype == torch.float64 else torch.float32
    dtype = torch.promote_types(phrase.dtype, object.dtype)
    if phrase.device.type != "cpu" or dtype in (torch.float32, torch.float64):
        return dtype
    if dtype == torch.bfloat16 and bfloat16_is_faster():
        return dtype
    return torch.float32


def _result_dtype(phrase: Tensor, object: Tensor) -> torch.dtype:
    return torch.float64 if torch.float64 in (phrase.dtype, object.dtype) else torch.float32


@functools.cache
def bfloat16_is_faster() -> bool:
    """Whether this processor multiplies bfloat16 matrices clearly faster than float32 ones, as measured now.

    Its instruction set does not tell: with AVX-512 alone bfloat16 can be slower than float32, and without any support
    for it, 60 times slower.
    """

    def seconds(dtype: torch.dtype) -> float:
        matrix = torch.ones(384, 384, dtype=dtype)
        times = []
        for _ in range(6):
            start = time.perf_counter()
            torch.mm(matrix, matrix)
            times.append(time.perf_counter() - start)
        return min(times)

    return 1.2 * seconds(torch.bfloat16) < seconds(torch.float32)


def _check_shapes(phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> None:
    expect("phrase prototypes", phrase, 3, "[A, N_p, D]")
    expect("object prototypes", object, 4, "[B, L, N_o, D]")
    if phrase.shape[-1] != object.shape[-1]:
        raise UsageError(
            f"phrase prototypes of width {phrase.shape[-1]}, object prototypes of width {object.shape[-1]}",
            "prototypes of one model",
        )
    if 0 in phrase.shape[1:] or 0 in object.shape[1:]:
        raise UsageError(
            f"phrase prototypes of shape {list(phrase.shape)}, object prototypes of shape {list(object.shape)}",
            "at least one phrase, frame, slot and component",
        )
    if inverse_lengths is not None and inverse_lengths.shape != object.shape[:3]:
        raise UsageError(
            f"inverse lengths of shape {list(inverse_lengths.shape)} for objects of shape {list(object.shape)}",
            f"one for each object prototype: {list(object.shape[:3])}",
        )


def _check_mask(name: str, mask: Tensor, vectors: Tensor) -> None:
    if mask.shape != vectors.shape[:2] or mask.dtype != torch.bool:
        raise UsageError(
            f"a {name} mask of shape {list(mask.shape)} and type {mask.dtype}",
            f"shape {list(vectors.shape[:2])} and type torch.bool",
        )


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


def match(
    text: TextPrototypes,
    video: VideoPrototypes,
    object_phrase_weight: float = 1.5,
    *,
    rule: MatchingRule = "best_cosine",
    phrase_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
) -> Similarity:
    """Score every text against every video.

    Args:
        text: prototypes of A texts.
        video: prototypes of B videos.
        object_phrase_weight: 1.5 is what the authors rank by in ModelScope; their GitHub code selects with 1.
        rule: how the object-phrase score is computed.
        phrase_mask: see `object_phrase_score`.
        frame_mask: see `object_phrase_score`; events are made of all frames, and are not masked.

    Returns:
        Scores `[A, B]`; A and B may be 0.

    Raises:
        UsageError: prototypes of different width, masks of other shapes, or an unknown rule.
    """
    if rule not in _RULES:
        raise UsageError(f"matching rule {rule!r}", ", ".join(_RULES))
    if text.sentence.shape[-1] != video.event.shape[-1]:
        raise UsageError(
            f"text prototypes of width {text.sentence.shape[-1]}, video prototypes of width {video.event.shape[-1]}",
            "prototypes of one model",
        )
    object_phrase = _RULES[rule](text.phrase, video.object, phrase_mask=phrase_mask, frame_mask=frame_mask)
    event_sentence = event_sentence_score(text.sentence, video.event)
    return Similarity(event_sentence + object_phrase_weight * object_phrase, object_phrase, event_sentence)
