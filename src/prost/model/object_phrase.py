"""The object-phrase score, with its gradient: Algorithm 1, spatial matching.

Every object-phrase score of the package is computed here: in training, in exact search over 8-bit codes, and as
evidence for a found moment. All cosines of a batch of 1,024 pairs would be a tensor `[A, B, L, N_o, N_p]` of 17 GB.
They are computed tile by tile instead (`prost.model.tiles`); on a GPU, where it is faster, by one kernel that keeps
its maxima in registers (`prost.model.fused`).
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable
from torch.nn.functional import embedding_bag

from prost.errors import UsageError
from prost.model import eight_bits, fused, three_parts
from prost.model.tiles import in_blocks_that_fit, largest, result_dtype, tile_size, tiles, winner_dtype
from prost.model.vectors import expect, inverse_lengths_of


class BestPhrases(NamedTuple):
    """The best phrase of each text for every object prototype.

    Attributes:
        score: cosine with the best phrase `[A, B, L, N_o]`.
        phrase: which phrase that is `[A, B, L, N_o]`, int64; the first one where several are equal.
    """

    score: Tensor
    phrase: Tensor


def object_phrase_score(
    phrase: Tensor,
    object: Tensor,
    *,
    inverse_lengths: Tensor | None = None,
    phrase_mask: Tensor | None = None,
    frame_mask: Tensor | None = None,
    rounded: bool = False,
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
        rounded: round prototypes to 8 bits, with a scale for each, and multiply these: about twice as fast as bfloat16
            on some processors. For inference; see `prost.model.eight_bits` for the error.

    Returns:
        `[A, B]`, in [-1, 1]: float64 if a prototype is float64, else float32. A and B may be 0.

    Raises:
        UsageError: shapes that do not fit together, or no phrase, frame, slot or component at all; rounded prototypes
            and a gradient.

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
        if rounded:
            raise UsageError("8-bit matching of prototypes that want a gradient", "torch.no_grad() around it")
        return _ObjectPhrase.apply(phrase, object, inverse_lengths)
    if rounded:
        phrase, object, inverse_lengths = eight_bits.rounded(phrase, object, inverse_lengths)
        if eight_bits.pay(phrase, object):
            return eight_bits.scores(phrase, object, inverse_lengths)
    elif three_parts.pay(phrase, object):
        if inverse_lengths is None:
            inverse_lengths = inverse_lengths_of(object.float())
        return three_parts.scores(phrase, object, inverse_lengths)
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
    dtype = result_dtype(phrase, object)
    score = torch.empty(shape, dtype=dtype, device=phrase.device)
    position = torch.empty(shape, dtype=torch.int64, device=phrase.device)
    for tile in tiles(phrase, object, inverse_lengths):
        score[tile.texts, tile.videos] = tile.best.transpose(1, 2).to(dtype)
        position[tile.texts, tile.videos] = tile.cosines.argmax(dim=0).transpose(1, 2)
    return BestPhrases(score, position)


def _score(
    phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None, *, with_winners: bool = False
) -> tuple[Tensor, Tensor | None]:
    """Object-phrase scores `[A, B]`, and who won each slot.

    Winners are `[A, B, N_o]`: number of the frame, times N_p, plus number of the phrase; int16 where that suffices.
    """
    if fused.is_faster(phrase, object):
        return fused.scores(phrase, object, inverse_lengths, with_winners=with_winners)
    return in_blocks_that_fit(
        lambda: _score_in_tiles(phrase, object, inverse_lengths, with_winners), phrase.device
    )


def _score_in_tiles(
    phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None, with_winners: bool
) -> tuple[Tensor, Tensor | None]:
    count, phrases, _ = phrase.shape
    videos, frames, slots, _ = object.shape
    dtype = result_dtype(phrase, object)
    scores = torch.empty(count, videos, dtype=dtype, device=phrase.device)
    winners = None
    if with_winners:
        winners = torch.empty(
            count, videos, slots, dtype=winner_dtype(frames * phrases), device=phrase.device
        )
    for tile in tiles(phrase, object, inverse_lengths):
        best = tile.best.flatten(2)  # [a, L, b*N_o]
        if winners is None:
            slot_scores = largest(best.transpose(0, 1), best.new_empty(len(best), best.shape[2]))
        else:
            slot_scores, frame = best.max(dim=1)  # [a, b*N_o]
            chosen = frame[None, :, None].expand(phrases, -1, -1, -1)
            winner = tile.cosines.flatten(3).gather(2, chosen).squeeze(2).argmax(dim=0)  # [a, b*N_o]
            winners[tile.texts, tile.videos] = (
                (frame * phrases + winner).view(len(best), -1, slots).to(winners.dtype)
            )
        scores[tile.texts, tile.videos] = slot_scores.view(len(best), -1, slots).mean(dim=2, dtype=dtype)
    return scores, winners


class _ObjectPhrase(torch.autograd.Function):
    """`object_phrase_score` with a gradient. Beside its arguments it keeps the winners alone, two bytes a slot."""

    @staticmethod
    def forward(ctx: Any, phrase: Tensor, object: Tensor, inverse_lengths: Tensor | None) -> Tensor:
        scores, winners = _score(phrase, object, inverse_lengths, with_winners=True)
        ctx.save_for_backward(phrase, object, inverse_lengths, winners)
        return scores

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, Tensor | None, None]:
        phrase, object, inverse_lengths, winners = ctx.saved_tensors
        of_phrase, of_object = in_blocks_that_fit(
            lambda: _gradients(
                gradients[0], phrase, object, inverse_lengths, winners, ctx.needs_input_grad[:2]
            ),
            phrase.device,
        )
        return of_phrase, of_object, None


def _gradients(
    gradient: Tensor,
    phrase: Tensor,
    object: Tensor,
    inverse_lengths: Tensor | None,
    winners: Tensor,
    wanted: tuple[bool, ...],
) -> tuple[Tensor | None, Tensor | None]:
    """Gradients of phrase and object prototypes from that of the scores; None for what is not wanted.

    Each slot of each pair of a text and a video ties one phrase to one object. The gradient of a phrase is the weighted
    sum of the objects that it is tied to, and the other way round: two bags of embeddings. Beside the gradients, only
    blocks of texts and videos are in memory.
    """
    count, phrases, width = phrase.shape
    videos, frames, slots, _ = object.shape
    dtype, device = gradient.dtype, gradient.device
    of_phrase = torch.zeros_like(phrase, dtype=dtype) if wanted[0] else None
    of_object = torch.zeros_like(object) if wanted[1] else None
    block = tile_size(device) // 2
    text_step = max(1, block // (phrases * width))
    video_step = max(1, min(block // (frames * slots * width), block // (min(text_step, count or 1) * slots)))
    texts = [slice(first, first + text_step) for first in range(0, count, text_step)]
    phrase_inverse = torch.cat([inverse_lengths_of(phrase[text].to(dtype)) for text in texts or [slice(0)]])

    def directions_of(text: slice) -> Tensor:
        return phrase[text].to(dtype) * phrase_inverse[text, :, None]

    slot = torch.arange(slots, device=device)
    for first in range(0, videos, video_step):
        video = slice(first, first + video_step)
        raw = object[video].to(dtype)
        inverse = inverse_lengths_of(raw) if inverse_lengths is None else inverse_lengths[video].to(dtype)
        vectors = raw * inverse[..., None]
        of_vectors = torch.zeros_like(vectors).view(-1, width) if wanted[1] else None
        place = torch.arange(len(raw), device=device)[:, None] * frames  # of the first frame of each video
        for text in texts:
            won = winners[text, video].long()  # [a, b, N_o]
            columns = ((place + won // phrases) * slots + slot).flatten()
            rows = (torch.arange(len(won), device=device)[:, None, None] * phrases + won % phrases).flatten()
            weights = (gradient[text, video, None] / slots).expand(won.shape).flatten()
            if of_phrase is not None:
                tied = _bags(rows, columns, weights, vectors.view(-1, width), len(won) * phrases)
                of_phrase[text] += tied.view(-1, phrases, width)
            if of_vectors is not None:
                of_vectors += _bags(
                    columns, rows, weights, directions_of(text).view(-1, width), len(of_vectors)
                )
        if of_object is not None and of_vectors is not None:
            of_object[video] = _through_unit(of_vectors.view(raw.shape), vectors, inverse)
    if of_phrase is None:
        return None, of_object
    for text in texts:
        of_phrase[text] = _through_unit(of_phrase[text], directions_of(text), phrase_inverse[text])
    return of_phrase.to(phrase.dtype), of_object


def _bags(bags: Tensor, members: Tensor, weights: Tensor, vectors: Tensor, count: int) -> Tensor:
    """Weighted sums of vectors `[count, D]`: pair k adds `weights[k] * vectors[members[k]]` to sum `bags[k]`."""
    bags, order = bags.sort()
    starts = torch.searchsorted(bags, torch.arange(count, device=bags.device))
    return embedding_bag(members[order], vectors, starts, per_sample_weights=weights[order], mode="sum")


def _through_unit(gradient: Tensor, directions: Tensor, inverse_lengths: Tensor) -> Tensor:
    """The gradient of vectors from that of their directions; 0 for a zero vector."""
    radial = (gradient * directions).sum(dim=-1, keepdim=True)
    return (gradient - radial * directions).mul_(inverse_lengths[..., None])


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
