"""Every error that prost raises on purpose, as one tree.

    ProstError                      what arrived; what is expected; what to try next
    ├── UsageError                  the caller asked for something that cannot be (exit code 2)
    │   ├── MissingPath             a file or folder that is not there
    │   ├── NoVideos                a folder or list without a single video file
    │   ├── BadAnnotations          a benchmark's files that cannot be read, or do not fit together
    │   ├── MissingVideos           a benchmark with fewer videos than its published numbers are about
    │   ├── EmptyQuery              a query without a word
    │   ├── BadFilter               a `where` expression that cannot be read
    │   └── BadConfig               an unknown key, or a value out of range, in a recipe or configuration
    ├── VideoError                  one file cannot be shown; `reason` is a short stable word
    ├── CheckpointError             weights that cannot become a model
    │   ├── MissingKeys             keys that the model needs and the file lacks
    │   ├── UnexpectedKeys          keys that the model has no place for
    │   └── ShapeMismatch           a tensor of another shape than its place
    ├── NeedsTokenizer              text arrived, but the weights came without a vocabulary
    ├── LibraryError                a library that cannot be used as asked
    │   ├── ModelMismatch           a library made by another model
    │   ├── LibraryBusy             another writer holds the library
    │   ├── LibraryDamaged          tables that cannot be read
    │   ├── PackDamaged             a derived file that is cut short, changed, or another's
    │   └── NotCoded                a search by codes or index in a library that has none
    ├── StorageError                the disk refused: no space, no permission, read-only
    ├── BadScores                   NaN, infinity or a wrong shape in a score matrix
    └── TrainingStopped             training cannot go on (NaN loss, an empty split ...)

A message is one line. The command line prints it as it is and exits with `exit_code`.
"""

from __future__ import annotations


class ProstError(Exception):
    """Base of the tree.

    Args:
        arrived: what was given, concretely (the path, the shape, the key).
        expected: what would have been accepted.
        suggestion: what to try next.

    >>> str(ProstError("clip.txt is no video", "MP4, MKV, WebM", "check the path"))
    'clip.txt is no video; expected: MP4, MKV, WebM; try: check the path'
    """

    exit_code = 1

    def __init__(self, arrived: str, expected: str = "", suggestion: str = "") -> None:
        self.arrived = arrived
        self.expected = expected
        self.suggestion = suggestion
        parts = [arrived]
        if expected:
            parts.append(f"expected: {expected}")
        if suggestion:
            parts.append(f"try: {suggestion}")
        super().__init__("; ".join(" ".join(part.split()) for part in parts))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors cross process borders (isolated decoding); rebuild them from their parts.
        return (type(self), (self.arrived, self.expected, self.suggestion))


class UsageError(ProstError):
    """The caller asked for something that cannot be."""

    exit_code = 2


class MissingPath(UsageError):
    """A file or folder that is not there."""


class NoVideos(UsageError):
    """A folder or list without a single video file."""


class BadAnnotations(UsageError):
    """A benchmark's files that cannot be read, or do not fit together."""


class MissingVideos(UsageError):
    """A benchmark with fewer videos than its published numbers are about."""


class EmptyQuery(UsageError):
    """A query without a word."""


class BadFilter(UsageError):
    """A `where` expression that cannot be read."""


class BadConfig(UsageError):
    """An unknown key, or a value out of range, in a recipe or configuration."""


class VideoError(ProstError):
    """One video file cannot be shown.

    Args:
        path: the file.
        reason: a short stable phrase, stored beside the file in a library ("no video stream").
        detail: what the decoder said, if it said anything.
    """

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        self.path = path
        self.reason = reason
        self.detail = detail
        super().__init__(
            f"{path}: {reason}" + (f" ({detail})" if detail else ""),
            suggestion="play the file in a player, or encode it anew",
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.path, self.reason, self.detail))


class CheckpointError(ProstError):
    """Weights that cannot become a model."""


class MissingKeys(CheckpointError):
    """Keys that the model needs and the file lacks."""


class UnexpectedKeys(CheckpointError):
    """Keys that the model has no place for."""


class ShapeMismatch(CheckpointError):
    """A tensor of another shape than its place."""


class NeedsTokenizer(UsageError):
    """Text arrived, but the weights came without a vocabulary."""


class LibraryError(ProstError):
    """A library that cannot be used as asked."""


class ModelMismatch(LibraryError):
    """A library made by another model."""


class LibraryBusy(LibraryError):
    """Another writer holds the library."""


class LibraryDamaged(LibraryError):
    """Tables that cannot be read."""


class PackDamaged(LibraryError):
    """A derived file (codes, codebooks, an index) that is cut short, changed, or another library's."""


class NotCoded(LibraryError):
    """A search by codes or by an index, in a library that has none."""


class StorageError(ProstError):
    """The disk refused: no space, no permission, read-only."""


class BadScores(ProstError):
    """NaN, infinity or a wrong shape in a score matrix."""


class TrainingStopped(ProstError):
    """Training cannot go on: a NaN loss, an empty split."""
