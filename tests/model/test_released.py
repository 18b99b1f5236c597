"""Dual encoders of the hub, opened by `load`, against the library that wrote them."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch
from PIL import Image
from tests.model.released_models import FAMILIES, Released
from transformers import SiglipConfig, SiglipModel
from transformers.models.chinese_clip.image_processing_pil_chinese_clip import ChineseCLIPImageProcessorPil
from transformers.models.clip.image_processing_pil_clip import CLIPImageProcessorPil
from transformers.models.siglip.image_processing_pil_siglip import SiglipImageProcessorPil

from prost.errors import BadConfig, EmptyQuery
from prost.model.checkpoint import load, save
from prost.model.dual_encoder import DualEncoder
from prost.video.decode import decode_frames

SENTENCES = [
    "a dog runs",
    "The RED ball falls!",
    "cat",
    " ".join(["the red ball falls at night and a cat runs after a dog"] * 5),  # longer than any text tower
]


@pytest.fixture(scope="module", params=FAMILIES)
def family(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture(scope="module")
def released(family: str) -> Released:
    with torch.random.fork_rng():
        torch.manual_seed(0)
        return FAMILIES[family]()


@pytest.fixture(scope="module")
def folder(family: str, released: Released, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("released") / family
    released.save(folder)
    return folder


def difference(ours: torch.Tensor, theirs: torch.Tensor) -> float:
    assert ours.shape == theirs.shape
    return (ours - theirs).abs().max().item()


@torch.no_grad()
def test_embeddings_equal_those_of_transformers(
    family: str, released: Released, folder: Path, record_property: Callable[[str, object], None]
) -> None:
    model = load(folder, device="cpu", frames=2)
    assert isinstance(model, DualEncoder)
    assert model.config.family == family and model.config.name == family
    text = model.encode_text(SENTENCES)
    words = difference(text.sentence, released.texts(SENTENCES))
    assert torch.equal(text.phrase[:, 0], text.sentence)
    pixels = torch.randn(2, 2, 3, 32, 32)
    video = model.video_prototypes(pixels)
    theirs = released.frames(pixels.flatten(0, 1)).unflatten(0, (2, 2))
    frames = difference(video.object[:, :, 0], theirs)
    mean = (theirs / theirs.norm(dim=-1, keepdim=True)).mean(dim=1)
    assert difference(video.event[:, 0], mean) < 1e-5
    record_property("largest difference", f"{family}: texts {words:.1e}, frames {frames:.1e}")
    assert words < 1e-4 and frames < 1e-4
    # Otherwise any answer would pass.
    assert theirs.std() > 0.1 and (text.sentence[0] - text.sentence[1]).abs().max() > 0.1


def test_our_own_folder_is_the_same_model(family: str, folder: Path, tmp_path: Path) -> None:
    model = load(folder, device="cpu", frames=2)
    save(model, tmp_path / family)
    again = load(tmp_path / family, device="cpu")
    assert again.config == model.config and again.fingerprint == model.fingerprint
    with torch.no_grad():
        assert torch.equal(again.encode_text(SENTENCES).sentence, model.encode_text(SENTENCES).sentence)
    assert sorted(path.name for path in (tmp_path / family).iterdir()) == [
        "config.json", "model.safetensors", "tokenizer.json"
    ]  # fmt: skip


@torch.no_grad()
def test_cells_are_patches_in_the_space_of_the_texts(family: str, released: Released, folder: Path) -> None:
    """Each patch as the library itself brings it into the space of the texts, then pooled in a grid of cells."""
    model = load(folder, device="cpu", frames=1, cells=True, cell_grid=2)
    theirs, pixels = released.model, torch.randn(3, 3, 32, 32)
    vision = theirs.vision_model
    hidden = vision(pixel_values=pixels).last_hidden_state
    if family.startswith("siglip"):
        patches = vision.head(hidden.flatten(0, 1)[:, None]).unflatten(0, (3, 16))
    else:
        patches = theirs.visual_projection(vision.post_layernorm(hidden))[:, 1:]  # [3, 16, D]
    patches = (patches / patches.norm(dim=-1, keepdim=True)).unflatten(1, (4, 4))
    video = model.video_prototypes(pixels[:, None])
    assert video.object.shape == (3, 1, 5, released.frames(pixels).shape[1])
    for slot, (row, column) in enumerate([(0, 0), (0, 2), (2, 0), (2, 2)], start=1):
        expected = patches[:, row : row + 2, column : column + 2].mean(dim=(1, 2))
        assert difference(video.object[:, 0, slot], expected) < 1e-5
    assert difference(video.object[:, 0, 0], released.frames(pixels)) < 1e-4
    without = load(folder, device="cpu", frames=1)
    assert model.fingerprint != without.fingerprint
    assert without.video_prototypes(pixels[:, None]).object.shape[2] == 1


def test_a_sentence_is_cut_where_the_library_cuts_it(family: str, released: Released, folder: Path) -> None:
    model = load(folder, device="cpu")
    ids, mask = model.tokenize(SENTENCES)
    theirs = released.tokenizer(SENTENCES, return_tensors="pt", **released.padding)["input_ids"]
    for ours, expected, kept in zip(ids, theirs, mask, strict=True):
        count = int(kept.sum())
        assert ours[:count].tolist() == expected[:count].tolist()
    assert model.count_words(SENTENCES[3]) > model.config.max_words == int(mask[3].sum())


def test_unknown_words_are_named(family: str, folder: Path) -> None:
    unknown = load(folder, device="cpu").unknown_words("a ★ dog")
    # The vocabulary of CLIP has no unknown words, and that of SigLIP 2 falls back to bytes.
    assert unknown == ([] if family in ("clip", "siglip2") else ["★"])


def test_a_text_without_a_word_is_refused(folder: Path) -> None:
    with pytest.raises(EmptyQuery):
        load(folder, device="cpu").encode_text(["  "])


def test_a_sentence_is_put_into_the_prompt(family: str, folder: Path) -> None:
    model = load(folder, device="cpu", prompt="a cat runs and {}")
    assert model.encode_text(["a dog"]).sentence.equal(
        load(folder, device="cpu").encode_text(["a cat runs and a dog"]).sentence
    )
    assert model.count_words("a dog") == load(folder, device="cpu").count_words("a cat runs and a dog")
    with pytest.raises(BadConfig, match="prompt"):
        load(folder, prompt="a photo")


def test_padding_is_the_familys_own(family: str, folder: Path) -> None:
    model = load(folder, device="cpu")
    assert model.config.text_padding == (1 if family == "siglip" else 0)
    assert model.reads_padding == family.startswith("siglip")
    if model.reads_padding:
        with pytest.raises(BadConfig, match="SigLIP reads its last position"):
            load(folder, max_words=32)


@torch.no_grad()
def test_patches_that_do_not_fill_a_frame(tmp_path: Path) -> None:
    """SigLIP's 384 pixels with patches of 14: here 30 pixels with patches of 8."""
    vision = {"hidden_size": 48, "intermediate_size": 80, "num_hidden_layers": 1, "num_attention_heads": 3}
    text = {"hidden_size": 40, "intermediate_size": 64, "num_hidden_layers": 1, "num_attention_heads": 5}
    theirs = SiglipModel(
        SiglipConfig(
            vision_config={**vision, "image_size": 30, "patch_size": 8},
            text_config={**text, "vocab_size": 50, "projection_size": 48},
        )
    ).eval()
    theirs.save_pretrained(tmp_path)
    model = load(tmp_path, device="cpu", frames=1, cells=True)
    assert (model.config.image_size, model.config.clip.grid) == (30, 3)
    pixels = torch.randn(2, 3, 30, 30)
    expected = theirs.get_image_features(pixel_values=pixels).pooler_output
    assert difference(model.video_prototypes(pixels[:, None]).object[:, 0, 0], expected) < 1e-4


SIDES = {"height": 32, "width": 32}
HALF = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
# As the released models of each family prepare their pictures, with 32 pixels. 2 is bilinear, 3 bicubic.
PROCESSORS: dict[str, Callable[[], Any]] = {
    "clip": lambda: CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDES),
    "metaclip2": lambda: CLIPImageProcessorPil(size={"shortest_edge": 32}, crop_size=SIDES),
    "chinese_clip": lambda: ChineseCLIPImageProcessorPil(size=SIDES, do_center_crop=False),
    "siglip": lambda: SiglipImageProcessorPil(size=SIDES, resample=3, **HALF),
    "siglip2": lambda: SiglipImageProcessorPil(size=SIDES, resample=2, **HALF),
}
FITS = {
    "clip": "crop",
    "metaclip2": "crop",
    "chinese_clip": "stretch",
    "siglip": "stretch",
    "siglip2": "stretch",
}


@torch.no_grad()
def test_a_wide_picture_is_prepared_as_by_transformers(family: str, folder: Path, tmp_path: Path) -> None:
    """From a 16:9 file to the embedding. FFmpeg's bicubic is not Pillow's, and SigLIP 2 was trained with bilinear."""
    prepared = tmp_path / family
    shutil.copytree(folder, prepared)
    processor = PROCESSORS[family]()
    processor.save_pretrained(prepared)
    y, x = np.mgrid[:180, :320]
    picture = (
        127 + 100 * np.stack([np.sin(x / 17 + y / 29 + phase) for phase in (0, 2, 4)], axis=-1)
    ).astype(np.uint8)
    with av.open(str(tmp_path / "wide.mkv"), "w") as container:
        stream = container.add_stream("ffv1", rate=5)
        stream.width, stream.height, stream.pix_fmt = 320, 180, "bgr0"
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
    model = load(prepared, device="cpu", frames=1)
    assert model.config.image_fit == FITS[family]
    frames = decode_frames(tmp_path / "wide.mkv", [0.0], 32, fit=model.config.image_fit)
    ours = model.normalise_pixels(frames.pixels)
    theirs = torch.as_tensor(processor(Image.fromarray(picture), return_tensors="np")["pixel_values"])
    levels = (ours - theirs).abs() * 255 * model.pixel_std
    assert levels.mean() < (3.0 if family == "siglip2" else 1.0)
    assert levels.max() < (12.0 if family == "siglip2" else 6.0)
    embeddings = [model.video_prototypes(pixels[None]).object[0, 0, 0] for pixels in (ours, theirs)]
    assert torch.cosine_similarity(*embeddings, dim=0) > 0.999
    # `encode_video` goes the same way; processors may round in another order there.
    torch.testing.assert_close(model.encode_video([tmp_path / "wide.mkv"]).object[0, 0, 0], embeddings[0])


@pytest.mark.parametrize(
    ("stated", "fit"),
    [
        ({"size": {"height": 32, "width": 32}}, "stretch"),
        ({"size": {"height": 32, "width": 32}, "do_center_crop": True}, "stretch"),
        ({"size": {"shortest_edge": 32}, "do_center_crop": True, "crop_size": 32}, "crop"),
        ({"size": {"shortest_edge": 32}}, "crop"),
        ({"size": 32, "do_center_crop": True}, "crop"),
        ({"size": 32, "do_center_crop": False}, None),
        ({}, None),
        (None, None),
    ],
)
def test_the_fit_is_what_the_preprocessor_says(
    family: str, folder: Path, tmp_path: Path, stated: dict[str, Any] | None, fit: str | None
) -> None:
    prepared = tmp_path / family
    shutil.copytree(folder, prepared)
    if stated is not None:
        (prepared / "preprocessor_config.json").write_text(json.dumps(stated))
    model = load(prepared, device="cpu")
    assert model.config.image_fit == (fit or FITS[family])
    # Libraries that were made before the fit was read have a model of this fingerprint.
    assert model.fingerprint == load(folder, device="cpu").fingerprint
    save(model, tmp_path / "ours")
    assert load(tmp_path / "ours", device="cpu").config.image_fit == model.config.image_fit
