"""Token shift: a few tokens of each frame are replaced by those of its neighbours in time.

From TS2-Net (Liu et al., ECCV 2022), as the authors of ProST apply it in the last blocks of the vision transformer,
to the layer-normed input of the attention. It costs no parameters and lets a frame see motion.
"""

from __future__ import annotations

from torch import Tensor


def shifted_positions(tokens: int, divisions: int) -> tuple[slice, slice]:
    """Positions that are taken from the previous frame, and from the next frame.

    Args:
        tokens: M, tokens of one frame, the class token included.
        divisions: how many groups the tokens fall into; `fold = M // divisions`.

    >>> before, after = shifted_positions(10, 5)
    >>> list(range(10))[before], list(range(10))[after]
    ([1, 3, 5, 7, 9], [4, 6, 8])
    """
    fold = tokens // divisions
    return slice(1, tokens, fold), slice(4, tokens, fold)


def token_shift(hidden: Tensor, divisions: int) -> Tensor:
    """Replace some tokens of every frame by those of its neighbours.

    Both directions read the unshifted values. A position that both would replace is taken from the next frame. The
    first frame has no previous one, and the last no next one: they keep their own tokens there.

    Args:
        hidden: `[B, L, M, width]`.
        divisions: see `shifted_positions`.

    Returns:
        `[B, L, M, width]`, a new tensor.
    """
    before, after = shifted_positions(hidden.shape[2], divisions)
    shifted = hidden.clone()
    shifted[:, 1:, before] = hidden[:, :-1, before]
    shifted[:, :-1, after] = hidden[:, 1:, after]
    # A position in both sets is taken from the next frame; the last frame has none and keeps its own value there.
    shifted[:, -1:, after] = hidden[:, -1:, after]
    return shifted
