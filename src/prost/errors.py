"""Every error that prost raises on purpose, as one tree.

    ProstError                      what was given; what is expected; what to try next
    ├── UsageError                  the caller asked for something that is not possible (exit code 2)
    │   ├── MissingPath             a file or folder that does not exist
    │   ├── ModelNotHere            a model that is known by name and is not on this machine
    │   ├── NoVideos                a folder or list without any video file
    │   ├── BadAnnotations          annotation files of a benchmark that cannot be read or contradict each other
    │   ├── MissingVideos           fewer videos than the benchmark's published numbers are based on
    │   ├── EmptyQuery              a query without a word
    │   ├── BadFilter               a `where` expression that cannot be read
    │   ├── BadConfig               an unknown key or a value out of range in a recipe or configuration
    │   └── NeedsTokenizer          text was given to a model that was loaded without a vocabulary
    ├── VideoError                  one video file that cannot be read; `reason` is a short stable phrase
    ├── DownloadFailed              a model that cannot be fetched: no network, no permission, other bytes than listed
    ├── UploadFailed                a model that cannot be published: no network, no permission
    ├── CheckpointError             weights that cannot be loaded into a model
    │   ├── MissingKeys             keys that the model needs and the file lacks
    │   ├── UnexpectedKeys          keys that the model does not have
    │   └── ShapeMismatch           a tensor whose shape differs from the model's
    ├── LibraryError                a library that cannot be used as asked
    │   ├── ModelMismatch           a library that was made with another model
    │   ├── LibraryBusy             another process is writing to the library
    │   ├── LibraryDamaged          tables that cannot be read
    │   ├── PackDamaged             a derived file that is truncated, changed, or from another library
    │   ├── NotCoded                a search by codes or by an index that the library does not have
    │   └── ShardsGone              no process answers that has a part of the library
    ├── StorageError                the disk refused: no space, no permission, read-only
    ├── FormRefused                 a form of the vision tower that cannot be made here, or computes something else
    ├── OutOfMemory                 the machine's or the GPU's memory is exhausted
    ├── BadScores                   NaN, infinity or a wrong shape in a score matrix
    └── TrainingStopped             training cannot go on (NaN loss, an empty split)
        └── TrainingInterrupted     the user or a scheduler asked training to stop (exit code 130 or 143)

A message is one line. The command line prints it unchanged and exits with `exit_code`.
"""

from __future__ import annotations

import errno
import signal
from collections.abc import Sequence

from prost.printable import printable

NO_ANSWER = (errno.ESTALE, errno.ETIMEDOUT, errno.ENODEV, errno.ENXIO, errno.ENOTCONN, errno.EHOSTDOWN)
"""Error numbers of the system for a disk that was unplugged, or whose server is gone."""


def install_extra(extra: str) -> str:
    """How to install an optional part, for a suggestion.

    >>> install_extra("plot")
    "pip install '.[plot]' in the folder of prost's source"
    """
    return f"pip install '.[{extra}]' in the folder of prost's source"


def one_of(choices: Sequence[str]) -> str:
    """Choices as an error lists them.

    >>> one_of([".png", ".svg", ".pdf"]), one_of(["--clips"])
    ('.png, .svg or .pdf', '--clips')
    """
    *others, last = choices
    return f"{', '.join(others)} or {last}" if others else last


class ProstError(Exception):
    """Base class of all errors of prost.

    Control characters in the three parts are escaped in the message, so that it is one line whatever a file is
    called.

    Args:
        arrived: what was given, concretely (the path, the shape, the key).
        expected: what would have been accepted.
        suggestion: what to try next.

    >>> str(ProstError("clip.txt is not a video", "MP4, MKV, WebM", "check the path"))
    'clip.txt is not a video; expected: MP4, MKV, WebM; try: check the path'
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
        super().__init__(printable("; ".join(parts)))

    def __reduce__(self) -> tuple[object, ...]:
        # Errors are sent between processes (isolated decoding); rebuild them from their parts.
        return (type(self), (self.arrived, self.expected, self.suggestion))


class UsageError(ProstError):
    """The caller asked for something that is not possible."""

    exit_code = 2


class MissingPath(UsageError):
    """A file or folder that does not exist."""


class ModelNotHere(UsageError):
    """A model that is known by name and is not on this machine."""


class NoVideos(UsageError):
    """A folder or list without any video file."""


class BadAnnotations(UsageError):
    """Annotation files of a benchmark that cannot be read or contradict each other."""


class MissingVideos(UsageError):
    """Fewer videos than the benchmark's published numbers are based on."""


class EmptyQuery(UsageError):
    """A query without a word."""


class BadFilter(UsageError):
    """A `where` expression that cannot be read."""


class BadConfig(UsageError):
    """An unknown key or a value out of range in a recipe or configuration."""


class NeedsTokenizer(UsageError):
    """Text was given to a model that was loaded without a vocabulary."""


SUGGESTIONS = {
    "file is gone": "check the path, and that its disk is mounted",
    "no permission": "change its permissions",
    "the system refuses to read it": "the same again, once the disk answers",
    "not a regular file": "a video file",
    "an error of prost": "the same again; if it comes back, please report it with the file",
}
"""What to try after reasons (`prost.video.reasons.Reason`) for which no player and no encoder helps."""


class VideoError(ProstError):
    """One video file that cannot be read.

    Args:
        path: the file.
        reason: a short stable phrase, stored beside the file in a library ("no video stream").
        detail: the decoder's own message, if there is one.
    """

    def __init__(self, path: str, reason: str, detail: str = "") -> None:
        self.path = path
        self.reason = reason
        self.detail = detail
        super().__init__(
            f"{path}: {reason}" + (f" ({detail})" if detail else ""),
            suggestion=SUGGESTIONS.get(reason, "play the file in a video player, or encode it again"),
        )

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.path, self.reason, self.detail))


class DownloadFailed(ProstError):
    """A model that cannot be fetched: no network, no permission, or other bytes than the host lists."""


class UploadFailed(ProstError):
    """A model that cannot be published: no network, or no permission."""


class CheckpointError(ProstError):
    """Weights that cannot be loaded into a model."""


class MissingKeys(CheckpointError):
    """Keys that the model needs and the file lacks."""


class UnexpectedKeys(CheckpointError):
    """Keys that the model does not have."""


class ShapeMismatch(CheckpointError):
    """A tensor whose shape differs from the model's."""


class LibraryError(ProstError):
    """A library that cannot be used as asked."""


class ModelMismatch(LibraryError):
    """A library that was made with another model."""


class LibraryBusy(LibraryError):
    """Another process is writing to the library."""


class LibraryDamaged(LibraryError):
    """Tables that cannot be read."""


class PackDamaged(LibraryError):
    """A derived file (codes, codebooks, an index) that is truncated, changed, or from another library."""


class NotCoded(LibraryError):
    """A search by codes or by an index that the library does not have."""


class ShardsGone(LibraryError):
    """None of the processes that search the parts of a library answers."""


class StorageError(ProstError):
    """The disk refused: no space, no permission, read-only."""


class FormRefused(ProstError):
    """A form of the vision tower that cannot be made of a model here, or that computes something else than torch."""


class OutOfMemory(ProstError):
    """The machine's or the GPU's memory is exhausted."""


class BadScores(ProstError):
    """NaN, infinity or a wrong shape in a score matrix."""


class TrainingStopped(ProstError):
    """Training cannot go on (NaN loss, an empty split)."""


class TrainingInterrupted(TrainingStopped):
    """The user or a scheduler asked training to stop; what was trained so far is kept.

    Args:
        arrived, expected, suggestion: as for `ProstError`.
        number: the signal that asked; the exit code is 128 and its number, as shells have it.
    """

    exit_code = 128 + signal.SIGINT

    def __init__(
        self, arrived: str, expected: str = "", suggestion: str = "", *, number: int = signal.SIGINT
    ) -> None:
        super().__init__(arrived, expected, suggestion)
        self.exit_code = 128 + number

    def __reduce__(self) -> tuple[object, ...]:
        return (*super().__reduce__(), {"exit_code": self.exit_code})
