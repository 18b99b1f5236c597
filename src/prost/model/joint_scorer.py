"""A joint scorer: how a sentence and a video fit, phrase by phrase and frame by frame, before anything is averaged.

ProST's score is an average of the largest cosines over frames and phrases, so a video in which one phrase is missing
can score as high as one in which all fit a little less. The joint scorer reads the cosines themselves: for each phrase
its largest cosine in each frame, together with the phrase, and for the sentence its cosines with the events. A small
transformer turns them into one logit: how likely the sentence and the video belong together. It needs
nothing but the prototypes that a library stores. It takes far more work than a score, so it judges only the best videos
of a ranking.

The idea of a light scorer over stored tokens is that of VEDJE (OpenReview ZqB0Ab4juk), which reads the tokens
themselves.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from hashlib import blake2b

import torch
from torch import Tensor, nn

from prost.config import ModelConfig, TowerDesign
from prost.model.matching import Record, TextPrototypes, VideoPrototypes
from prost.model.towers import TransformerBlock
from prost.model.vectors import unit

# Videos of a ranking that are judged, and so ordered again.
JUDGED = 50

HEAD_WIDTH = 24
# Cosines of neighbouring candidates differ by about a tenth.
COSINE_SCALE = 8.0
# Videos that are compared with the phrases at a time.
VIDEOS_AT_ONCE = 50


@dataclass(frozen=True, repr=False)
class Fits(Record):
    """How Q sentences and C candidates of each fit, by cosines.

    Attributes:
        phrase: largest cosine of each phrase with the objects of each frame `[Q, C, N_p, L]`.
        event: cosine of the sentence with each event `[Q, C, N_e]`.
        score: ProST's score `[Q, C]`.
    """

    phrase: Tensor
    event: Tensor
    score: Tensor

    @classmethod
    def joined(cls, parts: Sequence[Fits]) -> Fits:
        """Those of several lots of sentences, with as many candidates each."""
        return cls(*(torch.cat(same) for same in zip(*(part.tensors() for part in parts), strict=True)))


def fits_of(text: TextPrototypes, video: VideoPrototypes, score: Tensor) -> Fits:
    """Compare Q sentences with C videos, prototypes of any length.

    Args:
        text: of the sentences.
        video: of the videos.
        score: of the model, by its own rule and weight `[Q, C]`.
    """
    clips, frames, slots, width = video.object.shape
    phrases = unit(text.phrase).flatten(0, 1)  # [Q * N_p, D]

    def largest() -> Iterator[Tensor]:
        for some in video.object.split(VIDEOS_AT_ONCE):
            cosines = phrases @ unit(some).reshape(-1, width).T
            yield cosines.view(len(phrases), -1, frames, slots).amax(dim=-1)

    phrase = torch.cat(list(largest()), dim=1).view(len(text), -1, clips, frames).transpose(1, 2)
    event = unit(text.sentence) @ unit(video.event).flatten(0, 1).T
    return Fits(phrase.float(), event.view(len(text), clips, -1).float(), score.float())


class JointScorer(nn.Module):
    """From fits to logits.

    Args:
        config: of the model that it belongs to, with `joint_scorer`.
    """

    def __init__(self, config: ModelConfig) -> None:
        super().__init__()
        sizes = config.joint_scorer
        assert sizes is not None
        width = sizes.width
        design = TowerDesign(head_width=HEAD_WIDTH, mlp_width=3 * width, activation="gelu")
        self.fit, self.gated = nn.Linear(config.frames, width), nn.Linear(config.frames, width)
        self.phrase, self.gate = nn.Linear(config.width, width), nn.Linear(config.width, width)
        self.place = nn.Parameter(torch.empty(config.phrase_prototypes, width))
        nn.init.normal_(self.place, std=0.02)
        self.event = nn.Linear(config.event_prototypes + 1, width)
        self.sentence = nn.Linear(config.width, width)
        self.blocks = nn.Sequential(*(TransformerBlock(width, design) for _ in range(sizes.layers)))
        last = nn.Linear(width, 1)
        self.head = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.GELU(), last)
        # It begins with ProST's own order.
        nn.init.zeros_(last.weight)
        nn.init.zeros_(last.bias)
        self.scale, self.bias = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(0.0))

    def forward(self, fits: Fits, text: TextPrototypes) -> Tensor:
        """Judge Q sentences with C candidates each.

        Args:
            fits: of the candidates.
            text: prototypes of the sentences, of any length.

        Returns:
            `[Q, C]`, logits that sentence and candidate belong together.
        """
        phrase, cosines = unit(text.phrase), COSINE_SCALE * fits.phrase
        phrases = (
            self.fit(cosines)
            + self.gated(cosines) * torch.tanh(self.gate(phrase))[:, None]
            + self.phrase(phrase)[:, None]
            + self.place
        )
        whole = COSINE_SCALE * torch.cat([fits.event, fits.score[..., None]], dim=-1)
        sentence = self.event(whole) + self.sentence(unit(text.sentence))[:, None]
        tokens = torch.cat([sentence[:, :, None], phrases], dim=2).flatten(0, 1)
        added = self.head(self.blocks(tokens)[:, 0]).view_as(fits.score)
        logits: Tensor = self.scale * fits.score + self.bias + added
        return logits

    @property
    def untrained(self) -> bool:
        """Whether it still gives ProST's own order."""
        last = self.head[-1]
        assert isinstance(last, nn.Linear)
        return not last.weight.any()

    @property
    def fingerprint(self) -> str:
        """Hash of its weights: scorers of one fingerprint give the same logits."""
        digest = blake2b(digest_size=12)
        for key, weight in sorted(self.state_dict().items()):
            digest.update(key.encode())
            digest.update(weight.detach().float().cpu().numpy())
        return digest.hexdigest()
