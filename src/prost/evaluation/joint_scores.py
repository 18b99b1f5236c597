"""The joint scorer of a model as one more score of an evaluation."""

from __future__ import annotations

import numpy as np
import torch

from prost.evaluation.metrics import Scores
from prost.model.joint_scorer import JUDGED
from prost.model.matching import TextPrototypes, VideoPrototypes
from prost.model.prost import ProST


@torch.inference_mode()
def joint_scores(model: ProST, text: TextPrototypes, video: VideoPrototypes, scores: Scores) -> Scores:
    """Order the best videos of each text again, as a search does.

    Args:
        model: a model with a joint scorer.
        text: prototypes of C texts.
        video: prototypes of V videos.
        scores: the model's scores `[C, V]`.

    Returns:
        `[C, V]`, to be ranked within a row: the logits of the fifty videos with the best scores, and below them the
        others in the order of their scores.
    """
    joint = np.empty(scores.shape, dtype=np.float32)
    for row, plain in enumerate(scores):
        order = np.argsort(-plain, kind="stable")
        best, others = order[:JUDGED], order[JUDGED:]
        one = text[row : row + 1].mapped(lambda tensor: tensor.to(model.device))
        some = video[torch.from_numpy(best)].mapped(lambda tensor: tensor.to(model.device))
        logits = model.joint_logits(one, some)[0]
        joint[row, best] = logits.float().cpu().numpy()
        joint[row, others] = joint[row, best].min() - 1 - (plain[best[-1]] - plain[others])
    return joint
