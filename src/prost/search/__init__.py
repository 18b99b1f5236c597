"""Prototypes in a library, sentences against them, hits out."""

from prost.search.adding import AddReport, Progress
from prost.search.hits import Hit, Moment, SearchResult
from prost.search.library import Library, LibraryStats
from prost.search.moments import MomentRule
from prost.search.store import ClipSettings, VideoRow

__all__ = [
    "AddReport",
    "ClipSettings",
    "Hit",
    "Library",
    "LibraryStats",
    "Moment",
    "MomentRule",
    "Progress",
    "SearchResult",
    "VideoRow",
]
