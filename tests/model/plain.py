"""Algorithm 1 as it is written, for comparison."""

import numpy as np
import torch
from torch import Tensor

from prost.model.vectors import unit


def cosine(a: np.ndarray, b: np.ndarray) -> float:
    lengths = np.linalg.norm(a) * np.linalg.norm(b)
    return float(a @ b / lengths) if lengths > 0 else 0.0


def object_phrase_by_loops(phrase: np.ndarray, object: np.ndarray) -> np.ndarray:
    scores = np.zeros((len(phrase), len(object)))
    for a in range(len(phrase)):
        for b in range(len(object)):
            slots = [
                max(cosine(p, frame[slot]) for frame in object[b] for p in phrase[a])
                for slot in range(object.shape[2])
            ]
            scores[a, b] = sum(slots) / len(slots)
    return scores


def object_phrase_by_einsum(phrase: Tensor, object: Tensor) -> Tensor:
    cosines = torch.einsum("apd,blod->ablop", unit(phrase), unit(object))
    return cosines.amax(dim=(2, 4)).mean(dim=2)
