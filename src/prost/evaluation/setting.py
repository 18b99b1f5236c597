"""How the numbers of a report were made, in words that are printed with every table."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from prost.model.joint_scorer import JUDGED


@dataclass(frozen=True, kw_only=True)
class Setting:
    """How numbers were made; it is printed with every table.

    Attributes:
        model: the name that was given.
        architecture: "prost", "clip4clip", "ts2net".
        fingerprint: of configuration and weights.
        benchmark: name of the benchmark or gallery.
        split: its split.
        queries: digest of videos and captions; reports that share it can be compared query by query.
        videos: G, the size of the gallery.
        published_videos: published number of videos; None where there is none.
        captions: C.
        frames: L.
        image_size: R.
        max_words: of a text.
        sampling: which frames of a video the model sees, in words.
        object_phrase_weight: in the sum; None for a model without parts.
        temperature: of the inverted softmax.
        temperature_source: where it comes from, in words.
        bank_captions: number of training captions in the bank.
        bank_videos: number of training videos in the bank.
        bootstrap_samples: number of times that the videos are drawn.
        bootstrap_seed: of the draws.
        machine: the machine and the device that did the work.
        precision: "fp32" or "bf16", of the vision tower.
        training_seed: of the model; None where it is unknown.
        joint_scorer: fingerprint of the model's joint scorer, which is not part of `fingerprint`; None without one.
        notes: anything else that a reader has to know.
        versions: of the software that computed them.
    """

    model: str
    architecture: str
    fingerprint: str
    benchmark: str
    split: str
    queries: str
    videos: int
    published_videos: int | None
    captions: int
    frames: int
    image_size: int
    max_words: int
    sampling: str
    object_phrase_weight: float | None
    temperature: float
    temperature_source: str
    bank_captions: int
    bank_videos: int
    bootstrap_samples: int
    bootstrap_seed: int
    machine: str
    precision: str = "fp32"
    training_seed: int | None = None
    joint_scorer: str | None = None
    notes: tuple[str, ...] = ()
    versions: Mapping[str, str] = field(default_factory=dict)

    def lines(self) -> tuple[str, ...]:
        """The setting in words, for below a table: first about the model, then about the set and the methods."""
        return (
            self.model_line(),
            *self.shared_lines(),
            self.temperature_line(),
            f"computed on {self.machine}, vision tower in {self.precision}",
        )

    def model_line(self) -> str:
        """The model in words."""
        seed = "unknown" if self.training_seed is None else str(self.training_seed)
        who = [f"{self.architecture}, {self.fingerprint}", f"training seed {seed}"]
        if self.object_phrase_weight is not None:
            who.append(f"sum: event-sentence + {self.object_phrase_weight:g} x object-phrase")
        if self.joint_scorer is not None:
            who.append(f"joint scorer {self.joint_scorer}, over the {JUDGED} best of the sum")
        return f"{self.model} ({'; '.join(who)})"

    def shared_lines(self) -> tuple[str, ...]:
        """The rest of the setting, except what belongs to one model or one run, in words."""
        gallery = f"{self.videos:,} videos"
        if self.published_videos is not None and self.published_videos != self.videos:
            gallery += f" of {self.published_videos:,}"
        bank = f"bank of {self.bank_captions:,} training captions and {self.bank_videos:,} training videos"
        return (
            f"{self.benchmark}, {self.split} split: gallery of {gallery}, {self.captions:,} captions",
            f"{self.frames} frames of {self.image_size} pixels, {self.max_words} words; sampling: {self.sampling}",
            f"intervals: 95%, bootstrap of {self.bootstrap_samples:,} draws of the videos, seed {self.bootstrap_seed} "
            "(exact binomial where all queries or none are found); ties: mean rank",
            f"post-processing: no parameter tuned on this split; scores are cosines; {bank}",
            *self.notes,
            ", ".join(f"{name} {version}" for name, version in self.versions.items()),
        )

    def temperature_line(self) -> str:
        """The temperature of the inverted softmax, on which its row depends, in words."""
        return f"temperature of the inverted softmax: {self.temperature:.4g}, {self.temperature_source}"
