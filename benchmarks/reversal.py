"""Reversed accuracy of single events: is motion itself seen, or only read off the marks?

Each clip is cut closely around one event, and its sentence says who does what. Only sentences that are false of the
clip played backwards are asked. A clip has the same frames in both directions, with the same marks, and no order of
events: only the motion from frame to frame tells the two apart.

    python benchmarks/reversal.py --clips 150
"""

from __future__ import annotations

import argparse
from collections.abc import Iterator
from dataclasses import replace
from itertools import islice

import numpy as np

import prost
from prost.data.clip_sets import ToyboxClipSet
from prost.data.toybox import Gallery, describe_event, gallery, is_changed_by_reversal
from prost.data.toybox_clips import ToyboxClip
from prost.evaluation.benchmark import encode_clips, match_scores
from prost.evaluation.reversal import reversed_accuracy
from prost.model.encoding import encode_text

MOVES = ("moves left", "moves right", "rises", "falls")


def single_events(scenes: Gallery) -> Iterator[tuple[ToyboxClip, str, str]]:
    """Clips of one event with a sixth of its length on either side, their sentences, and the actions."""
    rng = np.random.default_rng(0)
    for scene in scenes.scenes:
        index = int(rng.integers(len(scene.events)))
        event = scene.events[index]
        caption = describe_event(scene, index, rng)
        if is_changed_by_reversal(caption, replace(scene, events=(event,))):
            margin = (event.end - event.start) / 6
            start, end = max(0.0, event.start - margin), min(scene.duration, event.end + margin)
            yield ToyboxClip(scene, start, end, index), caption.text, event.action


def main() -> None:
    """Print the accuracy of each score, for all events and for movements."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", default="toybox", help="name, folder or file")
    parser.add_argument("--gallery", default="toybox-1k", help="its scenes are used")
    parser.add_argument("--clips", type=int, default=150, help="largest number of clips")
    arguments = parser.parse_args()
    clips, sentences, actions = zip(
        *islice(single_events(gallery(arguments.gallery)), arguments.clips), strict=True
    )
    model = prost.load(arguments.model)
    text = encode_text(model, sentences)
    turned = [replace(clip, backwards=True) for clip in clips]
    scores = [
        match_scores(model, text, encode_clips(model, ToyboxClipSet(played, description="single events")))
        for played in (clips, turned)
    ]
    moving = np.isin(actions, MOVES)
    print(f"{arguments.model} ({model.fingerprint})")
    for name in scores[0]:
        forwards, backwards = (matrix[name].diagonal() for matrix in scores)
        for what, chosen in (("all events", slice(None)), ("movements", moving)):
            found = reversed_accuracy(forwards[chosen], backwards[chosen])
            low, high = found.interval
            print(f"{name}, {what}: {found.accuracy:.1f} [{low:.1f}, {high:.1f}] of {found.videos}")


if __name__ == "__main__":
    main()
