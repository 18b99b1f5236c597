"""Models by name: where each is published, what it was trained on, and what may be done with it."""

from __future__ import annotations

from dataclasses import dataclass

BUNDLED = "toybox"
# The model that is proposed to someone who has none yet.
FIRST_CHOICE = "siglip2-b16"


@dataclass(frozen=True, kw_only=True)
class CatalogueEntry:
    """A model that prost knows by name.

    What its publisher does not state is left empty.

    Attributes:
        name: as `prost.load` and `--model` take it.
        source: "bundled", "hub:OWNER/NAME" (Hugging Face) or "modelscope:OWNER/NAME".
        kind: what the model is.
        licence: of the weights.
        bytes: size of the weights, rounded; None where unknown.
        trained_on: what it has learnt from.
        published: R@1 on MSR-VTT, text to video, with where it is published.
        note: what it is good for.
        object_phrase_weight: in the sum, where the model is compared otherwise than its kind is; None for the kind's.
        here: whether it is on this machine.
    """

    name: str
    source: str
    kind: str
    licence: str = ""
    bytes: int | None = None
    trained_on: str
    published: str = ""
    note: str
    object_phrase_weight: float | None = None
    here: bool = False

    @property
    def host(self) -> str:
        """One of "bundled", "hub" and "modelscope"."""
        return self.source.partition(":")[0]

    @property
    def repository(self) -> str:
        """OWNER/NAME at its host; empty for a bundled model."""
        return self.source.partition(":")[2]


MODELS = (
    CatalogueEntry(
        name="siglip2-b16",
        source="hub:google/siglip2-base-patch16-224",
        kind="dual encoder",
        licence="Apache-2.0",
        bytes=1_500_000_000,
        trained_on="WebLI: images and texts of the web",
        note="videos of all kinds, in many languages; the one to begin with",
    ),
    CatalogueEntry(
        name="prost-msrvtt-b16",
        source="modelscope:damo/multi_modal_clip_vtretrieval_prost",
        kind="ProST",
        licence="Apache-2.0",
        trained_on="CLIP ViT-B/16, then the web videos of MSR-VTT",
        published="49, trained on it (its model card)",
        note="the authors' own; web videos, in English",
    ),
    CatalogueEntry(
        name="clip-b32",
        source="hub:openai/clip-vit-base-patch32",
        kind="dual encoder",
        bytes=605_000_000,
        trained_on="400 million images and texts of the web",
        note="small and quick, in English",
    ),
    CatalogueEntry(
        name="clip-b16",
        source="hub:openai/clip-vit-base-patch16",
        kind="dual encoder",
        bytes=599_000_000,
        trained_on="400 million images and texts of the web",
        note="sees smaller things than clip-b32, in English",
    ),
    CatalogueEntry(
        name="clip-l14",
        source="hub:openai/clip-vit-large-patch14",
        kind="dual encoder",
        bytes=1_710_000_000,
        trained_on="400 million images and texts of the web",
        note="large and slow, in English",
    ),
    CatalogueEntry(
        name="metaclip2-b16",
        source="hub:facebook/metaclip-2-worldwide-b16",
        kind="dual encoder",
        licence="CC-BY-NC-4.0",
        trained_on="images and texts of the web, worldwide",
        note="many languages; not for commercial use",
    ),
    CatalogueEntry(
        name="chinese-clip-b16",
        source="hub:OFA-Sys/chinese-clip-vit-base-patch16",
        kind="dual encoder",
        bytes=753_000_000,
        trained_on="about 200 million images with Chinese texts",
        note="sentences in Chinese",
    ),
    CatalogueEntry(
        name="pe-core-b16",
        source="hub:timm/PE-Core-B-16",
        kind="dual encoder (open_clip)",
        licence="Apache-2.0",
        trained_on="images of the web, then videos with generated captions",
        published="47.6, zero-shot (its README)",
        note="images and videos, in English; needs the extra openclip",
    ),
    CatalogueEntry(
        name="clip4clip-webvid",
        source="hub:Searchium-ai/clip4clip-webvid150k",
        kind="CLIP4Clip meanP",
        bytes=605_000_000,
        trained_on="CLIP ViT-B/32, then 150,000 videos of WebVid",
        note="stock videos, in English",
        object_phrase_weight=0.0,  # meanP compares the mean of the frames alone, which is the event
    ),
    CatalogueEntry(
        name=BUNDLED,
        source="bundled",
        kind="ProST",
        licence="Apache-2.0",
        bytes=4_660_000,
        trained_on="Toybox: drawn scenes",
        note="drawn videos only: for the demo and for practice",
    ),
)

ENTRIES = {entry.name: entry for entry in MODELS}
