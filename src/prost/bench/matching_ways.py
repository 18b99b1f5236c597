"""The ways to score a test set that `prost bench matching` times, and the arithmetic that they need.

The authors' code scores pairs of small batches of texts and videos and copies every block of scores to numpy. For
ProST it makes all cosines of a pair and takes their maxima. For TS2-Net it also runs the temporal transformer over the
same videos again for every batch of texts.
"""

from __future__ import annotations

import functools
import itertools
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from prost.model import eight_bits, fused
from prost.model.matching import (
    Similarity,
    TextPrototypes,
    VideoPrototypes,
    event_sentence_score,
    match,
)
from prost.model.retrieval_model import FrameFeatures, SentenceFeatures
from prost.model.tiles import bfloat16_is_faster
from prost.model.ts2net import TS2Net, TS2NetConfig
from prost.model.vectors import unit

# Texts and videos of a batch in the authors' test scripts.
BATCH = 16
# Cosines that the plain einsum makes at once: 256 MiB.
EINSUM_COSINES = 2**26
# Each frame has its class token and three selected tokens; layers of the temporal transformer.
TS2NET_TOKENS, TS2NET_LAYERS = 4, 4
# The peak of the plain einsum of a step over the size of its cosines, as measured on batches of 128 and 256.
EINSUM_COPIES = 3.6
# Frames of the videos that are matched at least; fewer tell nothing about a whole test set.
LEAST_FRAMES = 1536
GIB = 2**30
EINSUM_STEP, OUR_STEP = "ProST, einsum and its gradient", "ProST, prost.match and its gradient"
CPU = torch.device("cpu")


@dataclass(frozen=True, kw_only=True)
class MatchingSizes:
    """A test set's sizes.

    Attributes:
        name: of the test set.
        frames: L.
        texts, videos: of the test set.
        phrases: N_p.
        slots: N_o.
        events: N_e.
        width: D.
    """

    name: str
    frames: int
    texts: int = 1000
    videos: int = 1000
    phrases: int = 28
    slots: int = 12
    events: int = 3
    width: int = 512

    @property
    def prost_flops(self) -> float:
        """Floating point operations of ProST's cosines of all pairs."""
        cosines = self.phrases * self.frames * self.slots + self.events
        return 2.0 * self.texts * self.videos * cosines * self.width

    @property
    def training_flops(self) -> float:
        """Operations of ProST's cosines of all pairs, and of the gradient that flows to the best one of each slot."""
        return self.prost_flops + 4.0 * self.texts * self.videos * (self.slots + 1) * self.width

    @property
    def ts2net_flops(self) -> float:
        """Operations of TS2-Net's cosines of all pairs, and of its temporal transformer once for each video."""
        tokens = TS2NET_TOKENS * self.frames
        # For each token and layer: 12 D^2 weights, and 2 N D products of the attention.
        layer = 12 * self.width**2 + 2 * tokens * self.width
        transformer = 2.0 * self.videos * tokens * TS2NET_LAYERS * layer
        return 2.0 * self.texts * self.videos * self.frames * self.width + transformer


MSRVTT, DIDEMO = MatchingSizes(name="MSR-VTT", frames=12), MatchingSizes(name="DiDeMo", frames=64)


@dataclass(frozen=True, kw_only=True)
class Way:
    """One way to compute the scores, in equal units of work.

    Attributes:
        name: model and way.
        flops: operations that all scores need.
        units: number of units of the whole work: pairs of batches, or videos.
        run: does the first n units, and returns their scores: those of all texts and the first videos, or of the first
            batches.
        dtype: type of the matrix products.
        least: units that are done at least, where what is done once for all of them would weigh too much.
    """

    name: str
    flops: float
    units: int
    run: Callable[[int], NDArray[np.float32]]
    dtype: torch.dtype = torch.float32
    least: int = 1


@dataclass(frozen=True, kw_only=True)
class Group:
    """Ways to do the same work, which are measured in turn.

    Attributes:
        sizes: of the work.
        ways: the others are compared with the first one.
        not_measured: ways for which memory does not suffice, in words.
    """

    sizes: MatchingSizes
    ways: tuple[Way, ...]
    not_measured: tuple[str, ...] = ()


def groups_of(sizes: MatchingSizes, batches: Iterable[int], device: torch.device = CPU) -> Iterator[Group]:
    """All ways to score one test set, and to train on batches; the prototypes of one group are in memory at a time."""
    yield Group(sizes=sizes, ways=tuple(_prost_ways(sizes, device)))
    yield Group(sizes=sizes, ways=tuple(_ts2net_ways(sizes, device)))
    for batch in batches:
        yield training_group(sizes, batch, device, free_memory(device))


def training_group(sizes: MatchingSizes, batch: int, device: torch.device, free: float | None) -> Group:
    """The ways to do the matching of a step of training: scores and their gradient.

    Args:
        sizes: of the model; its numbers of texts and videos do not count.
        batch: number of texts and of videos.
        device: computes everything.
        free: bytes that a way may take; None for no limit.
    """
    step = replace(sizes, name=f"{sizes.name}, training on {batch}", texts=batch, videos=batch)
    too_large = _too_large(step, free)
    ways = _training_ways(step, device, with_einsum=not too_large)
    return Group(sizes=step, ways=tuple(ways), not_measured=too_large)


def _too_large(step: MatchingSizes, free: float | None) -> tuple[str, ...]:
    """What a step of training cannot measure for want of memory."""
    needed = einsum_bytes(step)
    if free is None or needed < free:
        return ()
    return (f"{step.name}: {EINSUM_STEP} (would take {needed / GIB:.0f} GiB; {free / GIB:.0f} are free)",)


def free_memory(device: torch.device) -> float | None:
    """Bytes that are free on a device; None where the system cannot tell."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0]
    try:
        with open("/proc/meminfo", encoding="ascii") as lines:
            return next(1024 * float(line.split()[1]) for line in lines if line.startswith("MemAvailable:"))
    except OSError:
        return None


def _prost_ways(sizes: MatchingSizes, device: torch.device) -> Iterator[Way]:
    text, video = _random_prototypes(sizes, device)
    pairs = _batch_pairs(sizes)

    def loop(units: int) -> NDArray[np.float32]:
        return _assemble((pair, plain_match(text[pair[0]], video[pair[1]]).total) for pair in pairs[:units])

    def plain(units: int) -> NDArray[np.float32]:
        part = video[:units]
        at_once = max(1, EINSUM_COSINES // (part.object[..., 0].numel() * sizes.phrases))
        blocks = [slice(first, first + at_once) for first in range(0, sizes.texts, at_once)]
        return torch.cat([plain_match(text[block], part).total for block in blocks]).cpu().numpy()

    def tiles(
        text: TextPrototypes, video: VideoPrototypes, units: int, rounded: bool = False
    ) -> NDArray[np.float32]:
        return match(text, video[:units], rounded=rounded).total.cpu().numpy()

    def kernel(text: TextPrototypes, video: VideoPrototypes, units: int) -> NDArray[np.float32]:
        object_phrase = fused.scores(text.phrase, video.object[:units], None)[0]
        event_sentence = event_sentence_score(text.sentence, video.event[:units])
        return (event_sentence + 1.5 * object_phrase).cpu().numpy()

    whole = functools.partial(Way, flops=sizes.prost_flops, units=sizes.videos)
    yield whole(name="ProST, einsum", run=plain)
    yield replace(whole(name="ProST, pairs of batches (authors)", run=loop), units=len(pairs))
    # Texts are prepared once for all videos.
    whole = functools.partial(whole, least=min(sizes.videos, max(1, LEAST_FRAMES // sizes.frames)))
    yield whole(name="ProST, prost.match", run=functools.partial(tiles, text, video))
    if device.type == "cpu" and eight_bits.pay(text.phrase, video.object):
        run = functools.partial(tiles, text, video, rounded=True)
        yield whole(name="ProST, prost.match, rounded", run=run, dtype=torch.int8)
    if device.type == "cpu" and not bfloat16_is_faster():
        return
    half = text.mapped(Tensor.bfloat16), video.mapped(Tensor.bfloat16)
    yield whole(name="ProST, prost.match", run=functools.partial(tiles, *half), dtype=torch.bfloat16)
    if device.type == "cuda":
        run = functools.partial(kernel, *half)
        yield whole(name="ProST, fused kernel", run=run, dtype=torch.bfloat16)


def _ts2net_ways(sizes: MatchingSizes, device: torch.device) -> Iterator[Way]:
    model = _ts2net(sizes).to(device)
    generator = torch.Generator().manual_seed(0)
    text = SentenceFeatures(torch.randn(sizes.texts, sizes.width, generator=generator).to(device))
    tokens = torch.randn(sizes.videos, sizes.frames, TS2NET_TOKENS, sizes.width, generator=generator).to(
        device
    )
    pairs = _batch_pairs(sizes)

    def frames(videos: slice) -> FrameFeatures:
        own = tokens[videos]
        return FrameFeatures(model.transformer(own.flatten(1, 2)).view_as(own)[:, :, 0])

    def loop(units: int) -> NDArray[np.float32]:
        return _assemble((pair, model.match(text[pair[0]], frames(pair[1])).total) for pair in pairs[:units])

    def once(units: int) -> NDArray[np.float32]:
        batches = [slice(first, min(first + BATCH, units)) for first in range(0, units, BATCH)]
        video = FrameFeatures(torch.cat([frames(batch).frame for batch in batches]))
        return model.match(text, video).total.cpu().numpy()

    yield Way(
        name="TS2-Net, pairs of batches (authors)", flops=sizes.ts2net_flops, units=len(pairs), run=loop
    )
    yield Way(name="TS2-Net, one product", flops=sizes.ts2net_flops, units=sizes.videos, run=once)


def _training_ways(sizes: MatchingSizes, device: torch.device, *, with_einsum: bool) -> Iterator[Way]:
    with torch.inference_mode(False):  # tensors that were made in inference mode get no gradient
        text, video = _random_prototypes(sizes, device)

    def step(score: Callable[[TextPrototypes, VideoPrototypes], Similarity], _: int) -> NDArray[np.float32]:
        with torch.inference_mode(False), torch.enable_grad():
            scores = score(text.mapped(_leaf), video.mapped(_leaf)).total
            own = torch.arange(len(scores), device=device)
            torch.nn.functional.cross_entropy(100 * scores, own).backward()
            return scores.detach().cpu().numpy()

    ways: dict[str, Callable[[TextPrototypes, VideoPrototypes], Similarity]] = {
        EINSUM_STEP: plain_match,
        OUR_STEP: match,
    }
    if not with_einsum:
        del ways[EINSUM_STEP]
    for name, score in ways.items():
        run = functools.partial(step, score)
        yield Way(name=name, flops=sizes.training_flops, units=1, run=run)


def _leaf(tensor: Tensor) -> Tensor:
    return tensor.detach().requires_grad_()


def _random_prototypes(sizes: MatchingSizes, device: torch.device) -> tuple[TextPrototypes, VideoPrototypes]:
    draw = functools.partial(torch.randn, generator=torch.Generator().manual_seed(0))
    text = TextPrototypes(draw(sizes.texts, sizes.phrases, sizes.width), draw(sizes.texts, sizes.width))
    video = VideoPrototypes(
        draw(sizes.videos, sizes.frames, sizes.slots, sizes.width),
        draw(sizes.videos, sizes.events, sizes.width),
    )
    return text.mapped(lambda part: part.to(device)), video.mapped(lambda part: part.to(device))


def plain_match(
    text: TextPrototypes, video: VideoPrototypes, object_phrase_weight: float = 1.5
) -> Similarity:
    """What `match` gives, by all cosines at once and their maxima, as the formula is written."""
    cosines = torch.einsum("apd,blod->ablop", unit(text.phrase), unit(video.object))
    object_phrase = cosines.amax(dim=(2, 4)).mean(dim=2)
    event_sentence = torch.einsum("ad,bed->abe", unit(text.sentence), unit(video.event)).amax(dim=2)
    return Similarity(event_sentence + object_phrase_weight * object_phrase, object_phrase, event_sentence)


def einsum_bytes(step: MatchingSizes) -> float:
    """The peak of the memory of `plain_match` and its gradient, without the prototypes themselves."""
    return EINSUM_COPIES * 4 * step.texts * step.videos * step.phrases * step.frames * step.slots


def _batch_pairs(sizes: MatchingSizes) -> list[tuple[slice, slice]]:
    """Pairs of batches in the order of the authors' loop: all videos for one batch of texts, then the next one."""
    texts, videos = (
        [slice(first, min(first + BATCH, count)) for first in range(0, count, BATCH)]
        for count in (sizes.texts, sizes.videos)
    )
    return list(itertools.product(texts, videos))


def _assemble(blocks: Iterable[tuple[tuple[slice, slice], Tensor]]) -> NDArray[np.float32]:
    """Copy each block to numpy and put the blocks together, as the authors do; NaN where there is none."""
    rows: dict[int, list[NDArray[np.float32]]] = {}
    for (texts, _), scores in blocks:
        rows.setdefault(texts.start, []).append(scores.cpu().detach().numpy())
    joined = [np.concatenate(row, axis=1) for row in rows.values()]
    widest = joined[0].shape[1]
    return np.concatenate(
        [np.pad(row, ((0, 0), (0, widest - row.shape[1])), constant_values=np.nan) for row in joined]
    )


def _ts2net(sizes: MatchingSizes) -> TS2Net:
    """A TS2-Net whose temporal transformer has the paper's size; the vision tower is not used and is tiny."""
    torch.manual_seed(0)
    config = TS2NetConfig.parse(
        {
            "clip": {
                "image_size": 32, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64,
                "text_layers": 1, "vocabulary": 16, "text_positions": 16,
            },
            "width": sizes.width, "frames": sizes.frames, "max_words": 16, "token_shift_blocks": [],
            "selected_tokens": TS2NET_TOKENS - 1, "temporal_layers": TS2NET_LAYERS,
            "positions": TS2NET_TOKENS * sizes.frames,
        }
    )  # fmt: skip
    return TS2Net(config).eval()
