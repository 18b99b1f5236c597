"""Prototypes in a library, sentences against them, hits out."""

from prost.search.adding import AddReport, IndexProgress
from prost.search.hits import Hit, Moment, SearchResult
from prost.search.library import Library, LibraryStats
from prost.search.moments import MomentRule
from prost.search.store import ClipSettings, VideoRow

__all__ = [
    "AddReport",
    "ClipSettings",
    "Hit",
    "IndexProgress",
    "Library",
    "LibraryStats",
    "Moment",
    "MomentRule",
    "SearchResult",
    "VideoRow",
]
