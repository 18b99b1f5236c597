"""Prototypes in a library, sentences against them, hits out."""

from prost.search.hits import Hit, Moment, SearchResult
from prost.search.index_run import AddReport, IndexProgress
from prost.search.library import Library, LibraryStats
from prost.search.moments import MomentRule
from prost.search.records import ClipSettings, VideoRow
from prost.search.repairing import RepairReport, repair_library
from prost.search.verifying import Problem, verify_library

__all__ = [
    "AddReport",
    "ClipSettings",
    "Hit",
    "IndexProgress",
    "Library",
    "LibraryStats",
    "Moment",
    "MomentRule",
    "Problem",
    "RepairReport",
    "SearchResult",
    "VideoRow",
    "repair_library",
    "verify_library",
]
