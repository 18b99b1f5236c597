"""Batches -> loss -> weights: the stages of a recipe, logged, resumable, best step kept."""

from __future__ import annotations

import json
import logging
import math
import signal
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FrameType
from typing import Any

import torch
from torch import Tensor

from prost.config import ModelConfig
from prost.data.batches import CaptionedVideos, ToyboxClips, ToyboxFrames, load_batches
from prost.data.toybox import gallery, vocabulary
from prost.errors import StorageError, TrainingStopped
from prost.evaluation.benchmark import evaluate
from prost.model.checkpoint import save
from prost.model.clip import sentence_token
from prost.model.matching import unit
from prost.model.prost import ProST
from prost.model.spatial import dead_share
from prost.model.words import WordTokenizer, whole_words
from prost.training.grounding import grounding_loss, patch_weights, region_features
from prost.training.loss import contrastive_loss, prost_loss
from prost.training.optimizer import make_optimizer, make_schedule
from prost.training.recipe import Recipe, StageConfig, read_recipe

log = logging.getLogger("prost")

LOG_EVERY = 20
Report = Callable[[dict[str, Any]], None]


def run_recipe(recipe_path: Path, output: Path, report: Report | None = None) -> Path:
    """Train a model from a recipe.

    An output folder that holds an interrupted run of the same recipe is carried on from its last checkpoint, and ends
    where the uninterrupted run would have ended.

    Args:
        recipe_path: a YAML file, see `Recipe`.
        output: gets `best/` and `last/` (model folders), `state.pt`, `recipe.yaml`, `log.jsonl`.
        report: called with every line of the log.

    Returns:
        The folder of the best model on the validation gallery.

    Raises:
        BadConfig: a recipe that cannot be read, or another one than the interrupted run's.
        TrainingStopped: the loss is no number; the step is named.
        StorageError: no space, no permission.
    """
    recipe = read_recipe(recipe_path)
    try:
        output.mkdir(parents=True, exist_ok=True)
        return Trainer(recipe, output, report).run()
    except OSError as error:
        raise StorageError(f"{output} cannot be written ({error})") from None


class Trainer:
    """One run of a recipe.

    Args:
        recipe: what to train.
        output: where to write.
        report: called with every line of the log.
    """

    def __init__(self, recipe: Recipe, output: Path, report: Report | None = None) -> None:
        self.recipe = recipe
        self.output = output
        self.report = report
        self.device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
        torch.manual_seed(recipe.seed)
        tokenizer = whole_words(vocabulary())
        self.model = ProST(sized_for(recipe.model, tokenizer), tokenizer).to(self.device)
        self.best = -math.inf

    def run(self) -> Path:
        """Run both stages; see `run_recipe`."""
        stages = {"clip": (self.recipe.clip, self._clip_loss), "prost": (self.recipe.prost, self._prost_loss)}
        reached = self._resume()
        for name, (stage, loss) in stages.items():
            if list(stages).index(name) < list(stages).index(reached["stage"]):
                continue
            first = reached["step"] if reached["stage"] == name else 0
            self._run_stage(name, stage, loss, first, reached if first else {})
        return self.output / "best"

    def _run_stage(
        self,
        name: str,
        stage: StageConfig,
        loss_of: Callable[[CaptionedVideos], tuple[Tensor, dict[str, float]]],
        first: int,
        reached: dict[str, Any],
    ) -> None:
        optimizer = make_optimizer(self.model, stage)
        schedule = make_schedule(optimizer, stage)
        if reached:
            optimizer.load_state_dict(reached["optimizer"])
            schedule.load_state_dict(reached["schedule"])
        started = time.monotonic()
        with _Interruption() as interruption:
            for step, batch in zip(range(first, stage.steps), self._batches(name, stage, first), strict=True):
                # Dropout is a function of the step, so that a resumed run draws the same.
                torch.manual_seed(2 * (self.recipe.seed * 1_000_003 + step) + (name == "prost"))
                self.model.train()
                loss, measured = loss_of(batch)
                if not torch.isfinite(loss):
                    raise TrainingStopped(
                        f"the loss is {loss.item()} at step {step} of stage {name!r}",
                        suggestion=f"a lower learning rate; the last checkpoint is in {self.output}",
                    )
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), stage.gradient_clip)
                optimizer.step()
                schedule.step()
                done = step + 1
                if step % LOG_EVERY == 0 or done == stage.steps:
                    spent = time.monotonic() - started
                    self._log(
                        stage=name,
                        step=done,
                        steps=stage.steps,
                        loss=round(loss.item(), 4),
                        gradient=round(norm.item(), 3),
                        logit_scale=round(self.model.logit_scale.item(), 2),
                        seconds=round(spent, 1),
                        remaining=round(spent / (done - first) * (stage.steps - done)),
                        **measured,
                    )
                if done % self.recipe.evaluate_every == 0 or done == stage.steps or interruption.asked:
                    if name == "prost" and not interruption.asked:
                        self._validate(done)
                    self._keep(name, done, optimizer, schedule)
                if interruption.asked:
                    raise TrainingStopped(
                        f"stopped by hand in stage {name!r} after step {done} of {stage.steps}",
                        suggestion="the same command again carries it on",
                    )

    def _batches(self, name: str, stage: StageConfig, first: int) -> Iterator[CaptionedVideos]:
        config, toybox, seed = self.model.config, self.recipe.toybox, self.recipe.seed
        steps = range(first, stage.steps)
        if name == "clip":
            frames = ToyboxFrames(steps, stage.batch_size, config.image_size, seed)
            return load_batches(frames, toybox.workers)
        clips = ToyboxClips(
            steps,
            stage.batch_size,
            config.image_size,
            config.frames,
            toybox.moments,
            toybox.twins,
            toybox.long,
            seed,
        )
        return load_batches(clips, toybox.workers)

    def _tensors(self, batch: CaptionedVideos) -> tuple[Tensor, Tensor, Tensor]:
        pixels = self.model.normalise_pixels(batch.pixels)
        return *self._words(batch.captions), pixels.to(self.device)

    def _words(self, sentences: list[str]) -> tuple[Tensor, Tensor]:
        """Ids and mask `[B, T]`, cut to the longest sentence: what follows it is padding, which costs time."""
        ids, mask = self.model.words(sentences)
        longest = int(mask.sum(dim=1).max())
        return ids[:, :longest].to(self.device), mask[:, :longest].to(self.device)

    def _autocast(self) -> torch.autocast:
        """Encode in bfloat16 where the recipe says so; scores are always float32.

        A cosine in bfloat16 is off by up to 0.004, which a logit scale of 100 makes 0.4.
        """
        return torch.autocast(self.device.type, torch.bfloat16, enabled=self.recipe.precision == "bf16")

    def _clip_loss(self, batch: CaptionedVideos) -> tuple[Tensor, dict[str, float]]:
        """Grounding of what stands where, and CLIP's own loss on class and end tokens at half its weight."""
        ids, mask, pixels = self._tensors(batch)
        with self._autocast():
            tokens = self.model.clip.frame_tokens(pixels)  # [B, 1, M, D]
            words = self.model.clip.word_tokens(ids)  # [B, T, D]
        scale = self.model.logit_scale
        whole = unit(sentence_token(words.float(), mask)) @ unit(tokens[:, 0, 0].float()).T
        right = whole.detach().argmax(dim=1) == torch.arange(len(whole), device=whole.device)
        grounding, measured = self._grounding(tokens.float(), batch)
        return grounding + 0.5 * contrastive_loss(whole, scale), {
            "accuracy": round(right.float().mean().item(), 3),
            **measured,
        }

    def _grounding(self, tokens: Tensor, batch: CaptionedVideos) -> tuple[Tensor, dict[str, float]]:
        """The loss of regions and their sentences, and how many regions find their own."""
        regions = batch.regions
        assert regions is not None
        ids, mask = self._words(regions.sentences)
        with self._autocast():
            words = self.model.clip.word_tokens(ids)
        boxes = torch.from_numpy(regions.boxes).to(self.device)
        video, true = (torch.from_numpy(part).to(self.device) for part in (regions.video, regions.true))
        features = region_features(tokens, video, patch_weights(boxes, self.model.config.clip.grid))
        return grounding_loss(features, words.float(), mask, true, self.model.logit_scale)

    def _prost_loss(self, batch: CaptionedVideos) -> tuple[Tensor, dict[str, float]]:
        """The paper's loss, and what tells how the two parts fare."""
        ids, mask, pixels = self._tensors(batch)
        with self._autocast():
            text = self.model.text_prototypes(ids, mask)
            tokens = self.model.clip.frame_tokens(pixels)
            video = self.model.video_head(tokens)
        grounding, measured = self._grounding(tokens.float(), batch)
        similarity = self.model.match(text.float(), video.float())
        truth = torch.arange(len(text), device=self.device)

        def accuracy(scores: Tensor | None) -> float:
            assert scores is not None
            return round((scores.detach().argmax(dim=1) == truth).float().mean().item(), 3)

        loss = prost_loss(similarity, self.model.logit_scale) + self.recipe.toybox.grounding * grounding
        return loss, measured | {
            "event_sentence": accuracy(similarity.event_sentence),
            "object_phrase": accuracy(similarity.object_phrase),
            "sum": accuracy(similarity.total),
            "dead_objects": round(dead_share(video.object), 3),
            "dead_phrases": round(dead_share(text.phrase), 3),
        }

    def _validate(self, step: int) -> None:
        """Measure on unseen scenes of the val split, and keep the best model."""
        self.model.eval()
        report = evaluate(self.model, gallery(self.recipe.validation, split="val"))
        self._log(stage="validation", step=step, **report.to_dict())
        score = report.parts["sum"].metrics.r1
        if score > self.best:
            self.best = score
            save(self.model, self.output / "best")

    def _keep(self, name: str, step: int, optimizer: torch.optim.Optimizer, schedule: Any) -> None:
        """Write all that carrying on needs; the old state stands until the new one is whole."""
        partial = self.output / "state.pt.partial"
        torch.save(
            {
                "stage": name,
                "step": step,
                "best": self.best,
                "recipe": self.recipe.model_dump_json(),
                "model": self.model.state_dict(),
                "optimizer": optimizer.state_dict(),
                "schedule": schedule.state_dict(),
            },
            partial,
        )
        partial.replace(self.output / "state.pt")

    def _resume(self) -> dict[str, Any]:
        """Take up an interrupted run."""
        path = self.output / "state.pt"
        if not path.is_file():
            return {"stage": "clip", "step": 0}
        state: dict[str, Any] = torch.load(path, map_location=self.device, weights_only=True)
        if state["recipe"] != self.recipe.model_dump_json():
            raise TrainingStopped(
                f"{self.output} holds a run of another recipe",
                suggestion="another output folder, or delete this one",
            )
        self.model.load_state_dict(state["model"])
        self.best = state["best"]
        log.info("carrying on in stage %s at step %d", state["stage"], state["step"])
        return state

    def _log(self, **values: Any) -> None:
        with (self.output / "log.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(values) + "\n")
        if self.report is not None:
            self.report(values)


def sized_for(config: ModelConfig, tokenizer: WordTokenizer) -> ModelConfig:
    """A configuration whose text tower has a place for every word of a vocabulary."""
    return config.model_copy(
        update={"clip": config.clip.model_copy(update={"vocabulary": max(3, tokenizer.vocabulary)})}
    )


class _Interruption:
    """Ctrl-C lets the step end first, so that what is kept is whole; a second one stops at once."""

    def __init__(self) -> None:
        self.asked = False

    def __enter__(self) -> _Interruption:
        if threading.current_thread() is threading.main_thread():  # only there may a handler be set
            self._before = signal.signal(signal.SIGINT, self._ask)
        return self

    def __exit__(self, *_: object) -> None:
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGINT, self._before)

    def _ask(self, number: int, frame: FrameType | None) -> None:
        if self.asked:
            raise KeyboardInterrupt
        self.asked = True
