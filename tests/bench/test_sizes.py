import numpy as np
import pytest
import torch

from prost.bench.real import RealPrototypes
from prost.bench.sizes import PUBLISHED, PrototypeSource, widened
from prost.config import ModelConfig
from prost.errors import UsageError
from prost.model.checkpoint import load_prost
from prost.model.matching import TextPrototypes
from prost.model.prost import ProST
from prost.model.vectors import unit
from prost.search.records import PrototypeSizes

from .conftest import nothing

WIDE = 96


def cosines(vectors: np.ndarray) -> np.ndarray:
    flat = vectors.reshape(-1, vectors.shape[-1]).astype(np.float64)
    return flat @ flat.T


@pytest.fixture
def source(monkeypatch: pytest.MonkeyPatch) -> PrototypeSource:
    """The bundled model with drawn prototypes in place of encoded videos."""
    rng = np.random.default_rng(0)
    drawn = RealPrototypes(
        object=unit(torch.from_numpy(rng.standard_normal((5, 12, 12, 128)).astype(np.float32))).numpy(),
        event=unit(torch.from_numpy(rng.standard_normal((5, 3, 128)).astype(np.float32))).numpy(),
    )
    monkeypatch.setattr("prost.bench.sizes.real_prototypes", lambda model, folder, count, progress: drawn)
    return PrototypeSource(model=load_prost("toybox"))


def test_wide_cosines_are_those_of_the_kernel(real: RealPrototypes) -> None:
    """Against sinh(cos) / sinh(1), which the random features stand for."""
    some = real.object[1:9]
    wide = widened(some, 4096)
    np.testing.assert_allclose(np.linalg.norm(wide, axis=-1), 1, atol=1e-5)
    np.testing.assert_allclose(cosines(wide), np.sinh(cosines(some)) / np.sinh(1), atol=0.07)


def test_wide_vectors_fill_their_width_and_dead_slots_stay_dead(real: RealPrototypes) -> None:
    wide = widened(real.object, WIDE)
    assert not wide[0, -1, :2].any()
    assert np.linalg.matrix_rank(wide.reshape(-1, WIDE)) == WIDE
    assert np.linalg.matrix_rank(real.object.reshape(-1, 16)) == 16


def test_frames_that_look_alike_still_do(real: RealPrototypes) -> None:
    def steps(tracks: np.ndarray) -> np.ndarray:
        return 1 - (tracks[1:, :, 1:] * tracks[1:, :, :-1]).sum(axis=-1).ravel()

    narrow, wide = steps(real.object), steps(widened(real.object, 1024))
    assert np.corrcoef(narrow, wide)[0, 1] > 0.9
    assert 0.5 < np.median(wide) / np.median(narrow) < 2


def test_a_video_is_widened_as_a_sentence_is_and_always_in_the_same_way(real: RealPrototypes) -> None:
    np.testing.assert_allclose(widened(real.event, WIDE)[3], widened(real.event[3], WIDE), atol=1e-6)


@pytest.mark.parametrize("like", PUBLISHED)
def test_prototypes_have_the_published_sizes(source: PrototypeSource, like: str) -> None:
    wide = PrototypeSource(model=source.model, like=like)
    sizes = PUBLISHED[like].sizes
    videos, text = wide.videos(None, 5, nothing), wide.sentences(["a ball rolls", "a cat jumps"])  # type: ignore[arg-type]
    assert videos.object.shape == (5, sizes.objects, sizes.frames, sizes.width)
    assert videos.event.shape == (5, sizes.events, sizes.width)
    np.testing.assert_allclose(np.linalg.norm(videos.event, axis=-1), 1, atol=1e-5)
    assert text.sentence.shape == (2, sizes.width)
    assert wide.description.sizes == sizes
    assert wide.description.model == f"toybox-like-{like}"


def test_a_dual_encoder_has_frames_their_mean_and_one_vector_a_sentence(source: PrototypeSource) -> None:
    dual = PrototypeSource(model=source.model, like="clip-b16")
    videos, text = dual.videos(None, 5, nothing), dual.sentences(["a ball rolls"])  # type: ignore[arg-type]
    mean = videos.object[:, 0].mean(axis=1)
    np.testing.assert_allclose(
        videos.event[:, 0], mean / np.linalg.norm(mean, axis=-1, keepdims=True), atol=1e-5
    )
    assert isinstance(text, TextPrototypes)
    np.testing.assert_array_equal(text.phrase[:, 0], text.sentence)


def test_what_cannot_be_widened_is_one_clear_line(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(UsageError, match="no sizes are called 'clip-b61'; expected: prost-b16 or clip-b16"):
        PrototypeSource.open("toybox", "clip-b61")
    small = {"image_size": 16, "patch_size": 16, "vision_width": 64, "vision_layers": 1, "text_width": 64}
    model = ProST(ModelConfig.parse({"clip": small, "width": 16, "frames": 4, "token_shift_blocks": []}))
    monkeypatch.setattr("prost.bench.sizes.load_prost", lambda name: model)
    with pytest.raises(UsageError, match=r"4 frames, 12 object .* cannot be widened to prost-b16"):
        PrototypeSource.open("small", "prost-b16")
    own = PrototypeSource.open("small", None).sizes
    assert own == PrototypeSizes(frames=4, objects=12, events=3, width=16)
