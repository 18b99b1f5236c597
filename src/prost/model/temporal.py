"""Temporal prototype generation: objects -> frames -> events.

Paper, section 3.3: a frame decoder whose learned queries attend to the object prototypes near their own frame, and an
event decoder whose few learned queries attend to the frames. Each is averaged with the class tokens.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torch.nn.functional import normalize


def event_diversity(events: Tensor) -> float:
    """How much the events of a clip differ: 1 minus their mean pairwise cosine, averaged over the clips.

    0 means that all events of each clip are one, so that one-to-many matching (paper, section 3.3) does nothing.

    Args:
        events: event prototypes `[B, N_e, D]` with N_e of at least 2.

    >>> event_diversity(torch.eye(3).expand(2, -1, -1))
    1.0
    """
    directions = normalize(events, dim=-1)
    count = events.shape[1]
    off_diagonal = (directions @ directions.mT).sum(dim=(1, 2)) - directions.square().sum(dim=(1, 2))
    return float(1.0 - (off_diagonal / (count * (count - 1))).mean())


def frame_windows(frames: int, objects: int, window: float) -> list[tuple[int, int]]:
    """Columns `[start, end)` of the flattened objects that each frame query sees.

    A window covers the objects of its frame and the next `floor(window * L * N_o)` columns. A window that reaches the
    end starts earlier by the number of columns that exceed the end, plus one, as in the authors' code.

    Args:
        frames: L.
        objects: N_o.
        window: fraction of all columns that a query sees after those of its own frame.

    >>> frame_windows(4, 2, 0.25)
    [(0, 4), (2, 6), (3, 8), (3, 8)]
    """
    columns = frames * objects
    reach = int(window * columns)
    windows = []
    for frame in range(frames):
        start = frame * objects
        end = start + objects + reach
        if end >= columns:
            start = max(0, start - (end - (columns - 1)))
            end = columns
        windows.append((start, end))
    return windows


def window_mask(frames: int, objects: int, window: float) -> Tensor:
    """Boolean mask `[L, L*N_o]` for `nn.MultiheadAttention`: true where a query must not attend."""
    mask = torch.ones(frames, frames * objects, dtype=torch.bool)
    for row, (start, end) in enumerate(frame_windows(frames, objects, window)):
        mask[row, start:end] = False
    return mask


class FeedForward(nn.Module):
    """Two linear layers of width D with dropout inside and after."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.inner = nn.Linear(width, width)
        self.outer = nn.Linear(width, width)
        self.dropout_inside = nn.Dropout(dropout)
        self.dropout_after = nn.Dropout(dropout)

    def forward(self, queries: Tensor) -> Tensor:
        """Map `[B, N, D]` to `[B, N, D]`."""
        return self.dropout_after(self.outer(self.dropout_inside(torch.relu(self.inner(queries)))))


class FrameDecoderLayer(nn.Module):
    """Attention to the memory, then a feed-forward layer, each with a residual."""

    def __init__(self, width: int, dropout: float) -> None:
        super().__init__()
        self.norm_queries = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm_attended = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor, mask: Tensor) -> Tensor:
        """Refine the queries.

        Args:
            queries: `[B, L, D]`.
            memory: `[B, L*N_o, D]`; each layer normalises it for itself.
            mask: `[L, L*N_o]`, true where a query must not attend.

        Returns:
            `[B, L, D]`.
        """
        return self._refined(queries, memory, mask, need_weights=False)[0]

    def with_attention(self, queries: Tensor, memory: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """As `forward`, and the attention to the memory `[B, L, L*N_o]`, whose rows sum to 1."""
        queries, attention = self._refined(queries, memory, mask, need_weights=True)
        assert attention is not None
        return queries, attention

    def _refined(
        self, queries: Tensor, memory: Tensor, mask: Tensor, *, need_weights: bool
    ) -> tuple[Tensor, Tensor | None]:
        queries, memory = self.norm_queries(queries), self.norm_memory(memory)
        attended, attention = self.cross_attention(
            queries, memory, memory, attn_mask=mask, need_weights=need_weights
        )
        queries = self.norm_attended(queries + self.dropout(attended))
        return self.norm_out(queries + self.feed_forward(queries)), attention


class FrameDecoder(nn.Module):
    """Object prototypes to frame prototypes.

    Args:
        frames: L, the number of learned queries.
        objects: N_o.
        width: D.
        layers: how many decoder layers.
        window: see `frame_windows`.
        dropout: in attention and feed-forward.
    """

    def __init__(
        self, frames: int, objects: int, width: int, layers: int, window: float, dropout: float
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(nn.init.normal_(torch.empty(frames, width)))
        self.layers = nn.ModuleList(FrameDecoderLayer(width, dropout) for _ in range(layers))
        self.norm = nn.LayerNorm(width)
        # On the CPU even if the weights are made on the meta device: no file holds it.
        with torch.device("cpu"):
            self.register_buffer("mask", window_mask(frames, objects, window), persistent=False)

    def forward(self, objects: Tensor) -> Tensor:
        """Decode, and average with the class tokens.

        Args:
            objects: object prototypes `[B, L, N_o, D]`; slot 0 is the class token.

        Returns:
            Frame prototypes `[B, L, D]`.
        """
        memory = objects.flatten(1, 2)  # [B, L*N_o, D]
        queries = self.queries.expand(len(objects), -1, -1)
        for layer in self.layers:
            queries = layer(queries, memory, self.mask)
        return 0.5 * self.norm(queries) + 0.5 * objects[:, :, 0]

    def frame_attention(self, objects: Tensor) -> Tensor:
        """How much of each frame prototype comes from which frame.

        Half of it is the class token of its own frame. The other half is the decoder's: the last layer's attention to
        the objects, summed over the objects of a frame.

        Args:
            objects: object prototypes `[B, L, N_o, D]`.

        Returns:
            `[B, L, L]`: row i belongs to frame prototype i and sums to 1.
        """
        memory = objects.flatten(1, 2)
        queries = self.queries.expand(len(objects), -1, -1)
        attention = memory.new_zeros(0)
        for layer in self.layers:
            assert isinstance(layer, FrameDecoderLayer) and isinstance(self.mask, Tensor)
            queries, attention = layer.with_attention(queries, memory, self.mask)
        decoded = attention.unflatten(2, objects.shape[1:3]).sum(dim=3)  # [B, L, L]
        return 0.5 * decoded + 0.5 * torch.eye(objects.shape[1], device=objects.device)


class EventDecoderLayer(nn.Module):
    """Self-attention among the events, attention to the frames, feed-forward.

    The authors' layer has no residual around the self-attention, which makes its queries equal: at the start, each
    attends to all of them alike.
    """

    def __init__(self, width: int, dropout: float, residual: bool) -> None:
        super().__init__()
        self.residual = residual
        self.norm_queries = nn.LayerNorm(width)
        self.norm_memory = nn.LayerNorm(width)
        self.self_attention = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.norm_self = nn.LayerNorm(width)
        self.cross_attention = nn.MultiheadAttention(width, 1, dropout=dropout, batch_first=True)
        self.dropout = nn.Dropout(dropout)
        self.norm_attended = nn.LayerNorm(width)
        self.feed_forward = FeedForward(width, dropout)
        self.norm_out = nn.LayerNorm(width)

    def forward(self, queries: Tensor, memory: Tensor) -> tuple[Tensor, Tensor]:
        """Refine the queries.

        Args:
            queries: `[B, N_e, D]`.
            memory: frame prototypes `[B, L, D]`.

        Returns:
            `[B, N_e, D]`, and the attention over the frames `[B, N_e, L]`.
        """
        queries, memory = self.norm_queries(queries), self.norm_memory(memory)
        mixed = self.self_attention(queries, queries, queries, need_weights=False)[0]
        queries = self.norm_self(queries + self.dropout(mixed) if self.residual else mixed)
        attended, attention = self.cross_attention(queries, memory, memory, need_weights=True)
        queries = self.norm_attended(queries + self.dropout(attended))
        return self.norm_out(queries + self.feed_forward(queries)), attention


class EventDecoder(nn.Module):
    """Frame prototypes to event prototypes.

    Args:
        events: N_e, the number of learned queries.
        width: D.
        layers: how many decoder layers.
        dropout: in attention and feed-forward.
        residual: around the self-attention; the authors' decoder has none.
    """

    def __init__(
        self, events: int, width: int, layers: int, dropout: float, *, residual: bool = False
    ) -> None:
        super().__init__()
        self.queries = nn.Parameter(nn.init.normal_(torch.empty(events, width)))
        self.layers = nn.ModuleList(EventDecoderLayer(width, dropout, residual) for _ in range(layers))
        self.norm = nn.LayerNorm(width)

    def forward(self, frame_prototypes: Tensor, class_tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Decode, and average with the mean class token.

        Args:
            frame_prototypes: `[B, L, D]`.
            class_tokens: `[B, L, D]`.

        Returns:
            Event prototypes `[B, N_e, D]`, and the last layer's attention over the frames `[B, N_e, L]`, whose rows
            sum to 1.
        """
        queries = self.queries.expand(len(frame_prototypes), -1, -1)
        attention = frame_prototypes.new_zeros(0)
        for layer in self.layers:
            queries, attention = layer(queries, frame_prototypes)
        return 0.5 * self.norm(queries) + 0.5 * class_tokens.mean(dim=1, keepdim=True), attention
