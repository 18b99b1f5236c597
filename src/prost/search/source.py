"""Where the clips of an indexing run come from: this machine, or others that write them themselves."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import lance

from prost.model.encoding import VideoEncoder
from prost.model.matching import VideoPrototypes
from prost.search.description import Description
from prost.search.encode import EncodedClip, PrototypeModel, WindowEncoding
from prost.search.reading import KnownContent, Refused, requests
from prost.search.records import ClipSettings
from prost.video.files import SeenFile
from prost.video.reader import FailedWindow, ReadEnd, VideoReader


@dataclass(frozen=True, kw_only=True)
class WrittenClips:
    """Clips that lie in files of the table already and are not committed.

    Attributes:
        fragments: what Lance commits.
        nbytes: bytes of their prototypes.
    """

    fragments: Sequence[lance.FragmentMetadata]
    nbytes: int


@dataclass(frozen=True, kw_only=True)
class EncodedFile:
    """A file that was read to its end, and all of whose clips have been encoded.

    Attributes:
        end: of its reading.
        shown: number of its clips that are stored.
        not_finite: number of those that the model gave no finite numbers for.
    """

    end: ReadEnd
    shown: int
    not_finite: int


SourceEvent = EncodedClip | WrittenClips | FailedWindow | ReadEnd | EncodedFile | KnownContent | Refused


class Source(Protocol):
    """Reads and encodes files."""

    def __call__(
        self, files: Sequence[SeenFile], known: Callable[[str], bool], take: Callable[[SourceEvent], None]
    ) -> None:
        """Work through files.

        Args:
            files: at least one.
            known: whether a content needs no decoding.
            take: called with what comes of them: for each file that is read its clips and then ReadEnd, or the
                WrittenClips with all its clips and then EncodedFile; for each other one KnownContent or Refused.
        """


@dataclass(frozen=True, kw_only=True)
class ThisMachine:
    """Reads and encodes in this process and its children.

    Attributes:
        encoder: makes the encoder for some files.
        reader: reads them.
        settings: how videos are cut.
        frames: L.
    """

    encoder: Callable[[Sequence[SeenFile]], VideoEncoder[VideoPrototypes]]
    reader: VideoReader
    settings: ClipSettings
    frames: int

    def __call__(
        self, files: Sequence[SeenFile], known: Callable[[str], bool], take: Callable[[SourceEvent], None]
    ) -> None:
        """As `Source`, in the order of the files."""
        wanted = requests(files, known, self.settings, self.frames)
        WindowEncoding(self.encoder(files), take).run(self.reader.read(wanted))


@dataclass(frozen=True, kw_only=True)
class WorkForOthers:
    """What other machines need to know to encode for a library.

    Attributes:
        root: where its tables are.
        description: of it.
        storage_options: what Lance needs to reach an object store.
        model: makes the prototypes.
        form: name of the form of the vision tower.
    """

    root: str
    description: Description
    storage_options: Mapping[str, str] | None
    model: PrototypeModel
    form: str
