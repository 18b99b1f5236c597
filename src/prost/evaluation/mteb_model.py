"""Any retrieval model as a model of `mteb`, the benchmark of embeddings: texts against videos, both directions.

ProST's score is no cosine of one vector with another, so `mteb` gets scores and not embeddings: the model answers by
its search protocol, `index` and `search`. Videos are decoded by our own reader and not by torchcodec, from the bytes
or the path that the data set holds, so that frames and figures are those of `prost eval`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from prost.data.clip_sets import RecordClips
from prost.data.records import VideoRecord
from prost.data.video_reading import Sampling
from prost.data.writing import writing_errors
from prost.errors import MissingPath, UsageError, VideoError
from prost.evaluation.benchmark import Model, encode_clips, match_scores
from prost.evaluation.sets import DECODERS
from prost.model.encoding import Precision, encode_text, join

if TYPE_CHECKING:
    from datasets import Dataset
    from mteb.models import ModelMeta

Kind = Literal["text", "video"]

BLOCK_VIDEOS = 64
"""Videos whose bytes are written to temporary files at a time: the decoder runs in processes of its own."""

# Columns that change what is asked; a model of this package reads text and pictures only.
_UNREAD = ("audio", "image", "instruction")


class MtebModel:
    """A model for `mteb.evaluate`; it has what the SearchProtocol of mteb asks for.

    Args:
        model: ProST, CLIP4Clip, TS2-Net or a dual encoder, in eval mode.
        name: of the model in results; the name in its configuration when None.
        precision: of the vision tower.
        sampling: how frames are chosen.
    """

    def __init__(
        self,
        model: Model,
        name: str | None = None,
        *,
        precision: Precision = "fp32",
        sampling: Sampling = "middles",
    ) -> None:
        self._model = model
        self._name = name or model.config.name
        self._precision = precision
        self._sampling = sampling
        self._indexed: tuple[list[str], Kind, Any] | None = None

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What `mteb` writes beside its results; what we do not know of the weights is None."""
        from mteb.models import ModelMeta

        parameters = list(self._model.parameters())
        empty: ModelMeta = ModelMeta.create_empty()
        return empty.model_copy(
            update={
                # mteb wants OWNER/NAME; a path or a name of the catalogue has no owner.
                "name": f"prost/{Path(self._name).name}",
                "revision": self._model.fingerprint,
                "n_parameters": sum(parameter.numel() for parameter in parameters),
                "memory_usage_mb": sum(parameter.nbytes for parameter in parameters) / (1 << 20),
                "max_tokens": float(self._model.config.max_words),
                "framework": ["PyTorch"],
                "similarity_fn_name": "custom",
                "use_instructions": False,
                "modalities": ["text", "video"],
            }
        )

    def index(self, corpus: Dataset, *, task_metadata: Any, **beside: Any) -> None:
        """Encode what is searched.

        Args:
            corpus: with the columns `id`, and `video` or `text`.
            task_metadata: names the task in errors.
            beside: the rest of the protocol, which changes nothing here.

        Raises:
            UsageError: columns that the model cannot read.
            VideoError: a video that cannot be decoded.
        """
        self._indexed = (list(corpus["id"]), *self._encoded(corpus, task_metadata.name))

    def search(
        self,
        queries: Dataset,
        *,
        task_metadata: Any,
        top_k: int,
        top_ranked: Mapping[str, Sequence[str]] | None = None,
        **beside: Any,
    ) -> dict[str, dict[str, float]]:
        """Score every query against what was indexed.

        Args:
            queries: with the columns `id`, and `text` or `video`: the other of the two.
            task_metadata: as for `index`.
            top_k: documents to return for a query.
            top_ranked: for a task that ranks given documents again, those of each query.
            beside: as for `index`.

        Returns:
            for each query the best documents and their scores, the sum of the model's parts.

        Raises:
            UsageError: nothing was indexed, or queries and documents are of one kind.
        """
        if self._indexed is None:
            raise UsageError("a search before anything is indexed", "index, then search")
        documents, kind, searched = self._indexed
        asked_kind, asked = self._encoded(queries, task_metadata.name)
        if asked_kind == kind:
            raise UsageError(
                f"{task_metadata.name} searches {kind} by {kind}", "a task of text to video or video to text"
            )
        if kind == "video":
            scores = match_scores(self._model, asked, searched)["sum"]
        else:
            scores = match_scores(self._model, searched, asked)["sum"].T
        place_of = {document: place for place, document in enumerate(documents)}
        found: dict[str, dict[str, float]] = {}
        for query, row in zip(queries["id"], scores, strict=True):
            allowed = np.arange(len(documents))
            if top_ranked is not None:
                allowed = np.array([place_of[document] for document in top_ranked[query]], dtype=np.int64)
            best = allowed[np.argsort(-row[allowed], kind="stable")[:top_k]]
            found[query] = {documents[place]: float(row[place]) for place in best}
        return found

    def _encoded(self, rows: Dataset, task: str) -> tuple[Kind, Any]:
        """What the rows are, and the model's record of them."""
        columns = set(rows.column_names)
        kinds = columns & {"text", "video"}
        if len(kinds) != 1 or columns & set(_UNREAD) or not len(rows):
            raise UsageError(
                f"{task} has {len(rows)} rows of {', '.join(sorted(columns - {'id'}))}",
                "rows of text alone or of video alone: a task of text to video or video to text",
            )
        if "text" in kinds:
            return "text", encode_text(self._model, _texts(rows))
        return "video", join(list(self._videos(rows, task)))

    def _videos(self, rows: Dataset, task: str) -> Iterator[Any]:
        """The model's records of the videos, block by block."""
        from datasets import Video

        if not isinstance(rows.features["video"], Video):
            raise UsageError(f"{task} holds videos as {rows.features['video']}", "the type Video of datasets")
        # Undecoded: the bytes or the path, and torchcodec is not needed.
        rows = rows.select_columns(["id", "video"]).cast_column("video", Video(decode=False))
        for first in range(0, len(rows), BLOCK_VIDEOS):
            block = rows[first : first + BLOCK_VIDEOS]
            with TemporaryDirectory(prefix="prost-mteb-") as folder:
                files = [
                    _file_of(video, Path(folder) / str(place), f"video {name!r} of {task}")
                    for place, (name, video) in enumerate(zip(block["id"], block["video"], strict=True))
                ]
                # No caption is read here, and a record has at least one.
                records = [VideoRecord(str(place), file, ("video",)) for place, file in enumerate(files)]
                clips = RecordClips(records, sampling=self._sampling, workers=DECODERS)
                try:
                    yield encode_clips(self._model, clips, precision=self._precision)
                except VideoError as error:
                    # The path may be that of a temporary file.
                    names = {str(file): name for file, name in zip(files, block["id"], strict=True)}
                    known = names.get(error.path)
                    raise VideoError(
                        error.path if known is None else f"video {known!r} of {task}",
                        error.reason,
                        error.detail,
                    ) from None


def _texts(rows: Dataset) -> list[str]:
    """The texts, each behind its title where it has one, as `mteb` joins them."""
    if "title" not in rows.column_names:
        return list(rows["text"])
    return [
        f"{title} {text}".strip() if title else text
        for title, text in zip(rows["title"], rows["text"], strict=True)
    ]


def _file_of(video: Mapping[str, Any], place: Path, what: str) -> Path:
    """The file of a video: its own, or one at `place` with its bytes.

    Raises:
        MissingPath: no bytes, and no file of this machine.
        StorageError: no space for the bytes.
    """
    content, path = video["bytes"], video["path"]
    if content is not None:
        # The ending does not matter: the decoder looks at the content.
        with writing_errors(place):
            place.write_bytes(content)
        return place
    if path is None or not Path(path).is_file():
        raise MissingPath(f"{what}: {path or 'neither bytes nor a path'}", "bytes, or a file of this machine")
    return Path(path)
