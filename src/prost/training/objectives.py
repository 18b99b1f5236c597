"""The objectives of the two stages: how a part of a batch is encoded, and the loss of the whole batch."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from prost.data.batches import CaptionedVideos, Regions
from prost.data.frame_tokens import TokenBatch
from prost.model.encoding import Precision, autocast
from prost.model.matching import TextPrototypes, VideoPrototypes, event_sentence_score
from prost.model.retrieval_model import FrameFeatures, RetrievalModel, SentenceFeatures
from prost.model.spatial import dead_share
from prost.model.vectors import unit
from prost.training.distributed import Processes
from prost.training.event_time import event_time_loss
from prost.training.grad_cache import Encoded, LossTerms
from prost.training.grounding import grounding_loss, patch_weights, region_features
from prost.training.loss import accuracies, contrastive_loss, retrieval_loss
from prost.training.order import order_loss, paired_scores, twin_pairs

Batch = CaptionedVideos | TokenBatch


def event_cosine(event: Tensor) -> float:
    """The mean cosine between two events of a video: close to 1 where the events have become the same.

    Args:
        event: event prototypes `[B, N_e, D]`, at least two per video.

    >>> event_cosine(torch.tensor([[[1.0, 0.0], [0.0, 2.0]], [[3.0, 0.0], [1.0, 0.0]]]))
    0.5
    """
    events = event.shape[1]
    cosines = unit(event) @ unit(event).transpose(1, 2)  # [B, N_e, N_e]
    others = ~torch.eye(events, dtype=torch.bool, device=event.device)
    return cosines[:, others].mean().item()


class Objective:
    """The stage on videos: the loss on the model's scores, and beside it the losses on regions and on twins.

    Args:
        model: is trained.
        precision: of the forward pass; scores are computed in float32.
        processes: the processes that share a batch.
        grounding: weight of the grounding loss. With several parts or processes, the regions of each are compared
            among themselves.
        event_time: weight of the event-time loss, for a ProST.
        order: weight of the order loss on twins; a pair that is split between two parts is left out.
    """

    def __init__(
        self,
        model: RetrievalModel[Any, Any],
        precision: Precision,
        processes: Processes,
        grounding: float,
        event_time: float,
        order: float,
    ) -> None:
        self.model, self.precision, self.processes = model, precision, processes
        self.grounding, self.event_time, self.order = grounding, event_time, order

    def encode(self, batch: Batch) -> Encoded:
        """Encode the texts and videos of a part of a batch."""
        ids, mask = self._words(batch.captions)
        with autocast(self.precision, self.model.device):
            text = self.model.text_prototypes(ids, mask)
            if isinstance(batch, TokenBatch):
                tokens = batch.tokens.to(self.model.device).float()
            else:
                tokens = self.model.frame_tokens(self._pixels(batch))
            video = self.model.video_head(tokens)
        text, video = text.float(), video.float()
        beside = (self._on_regions(tokens.float(), video, batch), self._order(text, video, batch.twins))
        losses = [loss for loss, _ in beside if loss is not None]
        return Encoded(
            text, video, sum(losses[1:], losses[0]) if losses else None, beside[0][1] | beside[1][1]
        )

    def loss_of(self, text: Any, video: Any, twins: np.ndarray) -> tuple[Tensor, LossTerms]:
        """This process's share of the loss of the whole batch.

        Each process scores its own texts against all videos; then the rows are gathered.

        Args:
            text: record of this process's texts.
            video: record of its videos.
            twins: their order-swapped pairs, as in a batch.
        """
        rows = self.model.match(text, video.mapped(self.processes.gather))
        similarity = rows.mapped(self.processes.gather)
        apart = twin_pairs(len(text), twins, self.processes)
        loss = retrieval_loss(similarity, self.model.logit_scale, apart)
        return loss / self.processes.world, accuracies(similarity)

    def prototype_health(self, text: Any, video: Any) -> dict[str, float]:
        """For a ProST: the fractions of prototypes that are zero vectors, and how similar a video's events are."""
        if not (isinstance(text, TextPrototypes) and isinstance(video, VideoPrototypes)):
            return {}
        measured = {"dead_objects": dead_share(video.object), "dead_phrases": dead_share(text.phrase)}
        if video.event.shape[1] > 1:
            measured["event_cosine"] = event_cosine(video.event)
        return measured

    def _words(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask `[B, T]`, cut to the longest sentence, because padding costs time.

        Where padding is read, as in SigLIP or by the phrases of the authors' checkpoints, it is kept.
        """
        ids, mask = self.model.tokenize(sentences)
        if not self.model.reads_padding:
            longest = int(mask.sum(dim=1).max())
            ids, mask = ids[:, :longest], mask[:, :longest]
        return ids.to(self.model.device), mask.to(self.model.device)

    def _pixels(self, batch: CaptionedVideos) -> Tensor:
        return self.model.normalise_pixels(torch.from_numpy(batch.pixels).to(self.model.device))

    def _on_regions(self, tokens: Tensor, video: Any, batch: Batch) -> tuple[Tensor | None, LossTerms]:
        """The grounding loss and the event-time loss, weighted, and what they measure.

        None without regions, and for a model that reads class tokens only.
        """
        regions = batch.regions if isinstance(batch, CaptionedVideos) else None
        wanted = self.grounding or self.event_time
        if regions is None or not len(regions.video) or not wanted or tokens.shape[2] == 1:
            return None, {}
        ids, mask = self._words(regions.sentences)
        with autocast(self.precision, self.model.device):
            words = self.model.clip.word_tokens(ids, mask)
        words = words.float()
        loss, measured = self._grounding(tokens, regions, words, mask)
        loss = self.grounding * loss
        if self.event_time and isinstance(video, VideoPrototypes) and regions.event.any():
            late, timed = self._event_time(video, regions, words, mask)
            loss, measured = loss + self.event_time * late, measured | timed
        return loss / self.processes.world, measured

    def _grounding(
        self, tokens: Tensor, regions: Regions, words: Tensor, mask: Tensor
    ) -> tuple[Tensor, LossTerms]:
        """The grounding loss, and the fraction of regions whose best sentence is true."""
        boxes, video, true = (
            torch.from_numpy(part).to(self.model.device)
            for part in (regions.boxes, regions.video, regions.true)
        )
        features = region_features(tokens, video, patch_weights(boxes, self.model.config.clip.grid))
        return grounding_loss(features, words, mask, true, self.model.logit_scale)

    def _event_time(
        self, video: VideoPrototypes, regions: Regions, words: Tensor, mask: Tensor
    ) -> tuple[Tensor, LossTerms]:
        """The event-time loss, and the fraction of events that are told at their time."""
        curves = self.model.event_curves(video)
        assert curves is not None
        rows = np.flatnonzero(regions.event)
        of, boxes = (
            torch.from_numpy(part[rows]).to(self.model.device) for part in (regions.video, regions.boxes)
        )
        sentences = self.model.clip.sentence_token(words[rows], mask[rows])
        cosines = (unit(video.event)[of] @ unit(sentences)[:, :, None])[:, :, 0]
        return event_time_loss(curves[of], cosines, boxes.any(dim=2), self.model.logit_scale)

    def _order(self, text: Any, video: Any, twins: np.ndarray) -> tuple[Tensor | None, LossTerms]:
        """The order loss, and the fraction of sentences that score their own video higher; None without twins.

        For a ProST it uses the event-sentence score alone, because objects and phrases do not depend on the order.
        """
        if not self.order or not len(twins):
            return None, {}
        rows = torch.from_numpy(twins).to(self.model.device)
        text, video = text[rows], video[rows]
        if isinstance(video, VideoPrototypes):
            scores = event_sentence_score(text.sentence, video.event)
        else:
            scores = self.model.match(text, video).total
        loss, measured = order_loss(paired_scores(scores), self.model.logit_scale)
        return self.order / self.processes.world * loss, measured


class FrameObjective(Objective):
    """The stage on frames: the grounding loss, and CLIP's own loss on class and end tokens with half its weight.

    Args:
        model, precision, processes: see `Objective`.
    """

    def __init__(self, model: RetrievalModel[Any, Any], precision: Precision, processes: Processes) -> None:
        super().__init__(model, precision, processes, grounding=1.0, event_time=0.0, order=0.0)

    def encode(self, batch: Batch) -> Encoded:
        """Encode a part of a batch of single frames: end tokens and class tokens."""
        assert isinstance(batch, CaptionedVideos)
        ids, mask = self._words(batch.captions)
        with autocast(self.precision, self.model.device):
            tokens = self.model.clip.frame_tokens(self._pixels(batch))  # [B, 1, M, D]
            words = self.model.clip.word_tokens(ids, mask)  # [B, T, D]
        tokens = tokens.float()
        return Encoded(
            SentenceFeatures(self.model.clip.sentence_token(words.float(), mask)),
            FrameFeatures(tokens[:, :, 0]),
            *self._on_regions(tokens, None, batch),
        )

    def loss_of(self, text: Any, video: Any, twins: np.ndarray) -> tuple[Tensor, LossTerms]:
        """CLIP's loss, divided among the processes as in `Objective`; frames have no twins."""
        frames = self.processes.gather(video.frame[:, 0])  # [B, D]
        scores = self.processes.gather(unit(text.sentence) @ unit(frames).T)
        right = scores.detach().argmax(dim=1) == torch.arange(len(scores), device=scores.device)
        loss = 0.5 * contrastive_loss(scores, self.model.logit_scale)
        return loss / self.processes.world, {"accuracy": right.float().mean()}
