"""The joint scorer in a search: it orders the best videos again, and tells better whether any of them fits.

Candidates are the fifty best videos by ProST's score, each by its best clip; further videos stay behind them in their
order. So the order of hits does not depend on how many are asked for. See `prost.model.joint_scorer`.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST
from prost.search.encode import PrototypeModel
from prost.search.exact import ClipPrototypes


@dataclass(frozen=True, kw_only=True)
class JointScoring:
    """The joint scorer of a library's model.

    Attributes:
        logits: of every sentence with every video `[Q, n]`, see `ProST.joint_logits`.
        fingerprint: of the scorer.
    """

    logits: Callable[[TextPrototypes, VideoPrototypes], Tensor]
    fingerprint: str

    @classmethod
    def of(cls, model: PrototypeModel | None) -> JointScoring | None:
        """That of a model; None without a model, and of one that has none."""
        scorer = getattr(model, "joint_scorer", None)
        if scorer is None:
            return None
        return cls(logits=cast(ProST, model).joint_logits, fingerprint=scorer.fingerprint)

    @torch.inference_mode()
    def of_clips(self, text: TextPrototypes, clips: ClipPrototypes) -> NDArray[np.float64]:
        """Logits of Q sentences with stored clips `[Q, n]`.

        Args:
            text: prototypes of the sentences, on the CPU.
            clips: of the library.
        """
        object = clips.object_codes * clips.inverse_lengths[..., None]
        logits: NDArray[np.float64] = self.logits(text, VideoPrototypes(object, clips.event)).double().numpy()
        return logits


def reordered(logits: NDArray[np.float64]) -> NDArray[np.intp]:
    """Places of videos in their final order, given their logits in the order of ProST's score `[n]`.

    >>> reordered(np.array([0.5, 2.0, 1.0])).tolist()
    [1, 2, 0]
    """
    order = np.argsort(-logits[:JUDGED], kind="stable")
    return np.concatenate([order, np.arange(JUDGED, len(logits))])


def best_clips(content_of: NDArray[np.integer], scores: NDArray[np.floating]) -> NDArray[np.intp]:
    """Places of the best clips of the best videos, one clip of each, best first, `JUDGED` at most.

    Args:
        content_of: video of each clip `[n]`.
        scores: of the clips `[n]`.

    >>> best_clips(np.array([7, 7, 3]), np.array([0.1, 0.9, 0.5])).tolist()
    [1, 2]
    """
    order = np.argsort(-scores, kind="stable")
    _, first = np.unique(content_of[order], return_index=True)
    return order[np.sort(first)[:JUDGED]]


def probability(logit: float) -> float:
    """That a sentence and a video belong together, as the scorer was trained, from 0 to 1.

    >>> probability(0.0)
    0.5
    """
    return float(torch.tensor(logit, dtype=torch.float64).sigmoid())
