"""The Triton kernel of the object-phrase score. Import it only where Triton is installed (`prost.model.fused`)."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def best_of_slots(  # type: ignore[no-untyped-def]  # Triton reads the annotations
    directions,
    objects,
    inverse_lengths,
    scores,
    winners,
    texts,
    videos,
    phrases,
    frames,
    slots,
    width,
    TEXTS: tl.constexpr,
    PHRASES: tl.constexpr,
    FRAMES: tl.constexpr,
    SLOTS: tl.constexpr,
    DEPTH: tl.constexpr,
    WITH_WINNERS: tl.constexpr,
):
    """Scores of `TEXTS` texts and one video; the cosines and their maxima never leave the registers.

    Args:
        directions: of the phrases `[texts, phrases, width]`.
        objects: object prototypes `[videos, frames, slots, width]`, of any length.
        inverse_lengths: of the objects `[videos, frames, slots]`, float32.
        scores: float32 `[texts, videos]`, written.
        winners: `[texts, videos, slots]`, written if wanted: frame x phrases + phrase.
        texts, videos, phrases, frames, slots, width: the numbers of each.
        TEXTS, PHRASES, FRAMES, SLOTS: powers of two. A product has TEXTS x PHRASES rows and FRAMES x SLOTS columns;
            those beyond the real ones are masked, and further frames come in further products.
        DEPTH: components of the vectors that are multiplied at once.
        WITH_WINNERS: whether winners are wanted.
    """
    ROWS: tl.constexpr = TEXTS * PHRASES
    COLUMNS: tl.constexpr = FRAMES * SLOTS
    # One dimension, since the others of a GPU's grid are short. Neighbours share a video.
    blocks = tl.cdiv(texts, TEXTS)
    first_text = tl.program_id(0) % blocks * TEXTS
    video = tl.program_id(0) // blocks
    row, column, component = tl.arange(0, ROWS), tl.arange(0, COLUMNS), tl.arange(0, DEPTH)
    text, phrase, slot = first_text + row // PHRASES, row % PHRASES, column % SLOTS
    real_row = (text < texts) & (phrase < phrases)
    row_start = (text.to(tl.int64) * phrases + phrase) * width
    frame_number = tl.arange(0, FRAMES)
    running = tl.full((TEXTS, SLOTS), float("-inf"), tl.float32)
    winner = tl.zeros((TEXTS, SLOTS), tl.int32)
    for first_frame in range(0, frames, FRAMES):
        frame = first_frame + column // SLOTS
        real_column = (frame < frames) & (slot < slots)
        place = (video.to(tl.int64) * frames + frame) * slots + slot
        cosines = tl.zeros((ROWS, COLUMNS), tl.float32)
        for start in range(0, width, DEPTH):
            real = start + component < width
            left = tl.load(
                directions + row_start[:, None] + (start + component)[None, :],
                mask=real_row[:, None] & real[None, :],
                other=0.0,
            )
            right = tl.load(
                objects + (place * width)[None, :] + (start + component)[:, None],
                mask=real_column[None, :] & real[:, None],
                other=0,
            )
            cosines = tl.dot(left, right.to(left.dtype), cosines, input_precision="ieee")
        cosines = tl.where((phrase < phrases)[:, None], cosines, float("-inf"))
        of_texts = tl.reshape(cosines, (TEXTS, PHRASES, COLUMNS))
        inverse = tl.load(inverse_lengths + place, mask=real_column, other=0.0)
        # Lengths are positive: the best phrase is the same before and after dividing by them.
        best = tl.where((frame < frames)[None, :], tl.max(of_texts, axis=1) * inverse[None, :], float("-inf"))
        of_frames = tl.reshape(best, (TEXTS, FRAMES, SLOTS))
        top = tl.max(of_frames, axis=1)
        if WITH_WINNERS:
            best_phrase = tl.reshape(tl.argmax(of_texts, axis=1), (TEXTS, FRAMES, SLOTS))
            best_frame = tl.argmax(of_frames, axis=1)
            chosen = frame_number[None, :, None] == best_frame[:, None, :]
            found = (first_frame + best_frame) * phrases + tl.sum(tl.where(chosen, best_phrase, 0), axis=1)
            winner = tl.where(top > running, found, winner)
        running = tl.maximum(running, top)
    own_text, own_slot = first_text + tl.arange(0, TEXTS), tl.arange(0, SLOTS)
    mean = tl.sum(tl.where((own_slot < slots)[None, :], running, 0.0), axis=1) / slots
    pair = own_text.to(tl.int64) * videos + video
    tl.store(scores + pair, mean, mask=own_text < texts)
    if WITH_WINNERS:
        tl.store(
            winners + pair[:, None] * slots + own_slot[None, :],
            winner.to(winners.dtype.element_ty),
            mask=(own_text < texts)[:, None] & (own_slot < slots)[None, :],
        )
