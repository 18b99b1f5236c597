"""Toybox: a small world of drawn things and events, for training and tests without any download."""

from .changing import with_one_change
from .files import read_captions, write, write_gallery
from .gallery import GALLERY_NAME, Gallery, gallery
from .grammar import (
    Caption,
    Claim,
    describe,
    describe_event,
    describe_frame,
    describe_thing,
    holds,
    holds_in_any_order,
    vocabulary,
)
from .long_gallery import LONG_GALLERY_NAME, LongGallery, excerpts, long_gallery
from .motion import visible_boxes
from .render import render
from .reversal import backwards, is_changed_by_reversal
from .sampling import can_twin, sample_scene, scene_stream, twin_of
from .scene import Event, Scene, Thing

__all__ = [
    "GALLERY_NAME",
    "LONG_GALLERY_NAME",
    "Caption",
    "Claim",
    "Event",
    "Gallery",
    "LongGallery",
    "Scene",
    "Thing",
    "backwards",
    "can_twin",
    "describe",
    "describe_event",
    "describe_frame",
    "describe_thing",
    "excerpts",
    "gallery",
    "holds",
    "holds_in_any_order",
    "is_changed_by_reversal",
    "long_gallery",
    "read_captions",
    "render",
    "sample_scene",
    "scene_stream",
    "twin_of",
    "visible_boxes",
    "vocabulary",
    "with_one_change",
    "write",
    "write_gallery",
]
