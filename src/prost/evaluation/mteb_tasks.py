"""Tasks of `mteb` by name or from a folder, and running a model on one. Needs the extra `mteb`.

A folder holds three files with one JSON object a line:

    corpus.jsonl    {"id": "d0", "video": "a.mp4"}    or with "text" in place of "video"
    queries.jsonl   {"id": "q0", "text": "a red ball falls"}    or with "video"
    qrels.jsonl     {"query-id": "q0", "corpus-id": "d0", "score": 1}

Paths are relative to the folder. Nothing is downloaded unless the caller asks for it.
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from prost.data.benchmarks.annotations import read_json_lines
from prost.data.writing import written_whole
from prost.errors import BadAnnotations, DownloadFailed, MissingPath, UsageError, install_extra

if TYPE_CHECKING:
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.results import TaskResult

    from prost.evaluation.mteb_model import MtebModel

CORPUS, QUERIES, JUDGEMENTS = "corpus.jsonl", "queries.jsonl", "qrels.jsonl"
CATEGORIES = ("t2v", "v2t")
"""Kinds of task that a model of text and video can answer, as `mteb` calls them."""

SHOWN = ("ndcg_at_10", "recall_at_1", "recall_at_5", "recall_at_10", "mrr_at_10")
"""Scores that the table of `prost eval --mteb` shows, where the task has them."""


def open_task(name: str, announce: Callable[[str], None], *, download: bool = False) -> AbsTaskRetrieval:
    """Find a task and load its data.

    Args:
        name: of a task of `mteb`, or a folder as the top of this file describes; a name wins, and `./NAME` means the
            folder.
        download: fetch the data of a named task where they are not on this machine.
        announce: is told what is fetched, and into which folder, before it is.

    Raises:
        UsageError: the extra is not installed, there is no such task, or it is not one of text and video alone.
        MissingPath: data or files that are not here.
        BadAnnotations: a file of a folder cannot be read.
        DownloadFailed: the data cannot be fetched.
    """
    if find_spec("mteb") is None:
        raise UsageError("a task of mteb without the package mteb", "the extra `mteb`", install_extra("mteb"))
    import mteb

    try:
        with warnings.catch_warnings():
            # That a task is in beta is logged as well, in one line.
            warnings.simplefilter("ignore", UserWarning)
            task: Any = mteb.get_task(name)
    except KeyError as error:
        if Path(name).is_dir():
            return _folder_task(Path(name))
        reason = str(error.args[0]).removeprefix("KeyError: ")
        raise MissingPath(
            f"{name} is neither a folder nor a task of mteb {mteb.__version__} ({reason})",
            f"MSRVTTT2V, MSVDT2VRetrieval ..., or a folder with {CORPUS}, {QUERIES} and {JUDGEMENTS}",
        ) from None
    _expect_text_and_video(task)
    _load(task, download, announce)
    return task


def run_task(model: MtebModel, task: AbsTaskRetrieval) -> TaskResult:
    """Run a model on a task whose data are loaded; nothing is read from or written to the cache of `mteb`.

    Raises:
        UsageError: data that are not of text and video.
        VideoError: a video that cannot be decoded.
    """
    import mteb

    found = mteb.evaluate(model, task, cache=None, co2_tracker=False, show_progress_bar=False)
    result: TaskResult = found.task_results[0]
    return result


def shown_scores(result: TaskResult) -> list[tuple[str, str, str, float]]:
    """Split, subset, name and value in percent of the scores in `SHOWN`."""
    return [
        (split, scores["hf_subset"], name, 100 * scores[name])
        for split, subsets in result.scores.items()
        for scores in subsets
        for name in SHOWN
        if name in scores
    ]


def write_result(result: TaskResult, folder: Path) -> Path:
    """Write a result as `mteb` reads it: TASK.json; returns the file.

    Raises:
        StorageError: no space, no permission.
    """
    path = folder / f"{result.task_name}.json"
    with written_whole(path) as place:
        result.to_disk(place)
    return path


def _expect_text_and_video(task: Any) -> None:
    from mteb.abstasks import AbsTaskRetrieval

    what = task.metadata
    if not isinstance(task, AbsTaskRetrieval) or what.category not in CATEGORIES:
        raise UsageError(
            f"the mteb task {what.name} is {what.type} of the category {what.category}",
            f"a retrieval task of the category {' or '.join(CATEGORIES)}: text and video alone",
        )


def _load(task: Any, download: bool, announce: Callable[[str], None]) -> None:
    """Load the data of a named task, from this machine unless a download is asked for."""
    import datasets
    from huggingface_hub.errors import HfHubHTTPError, OfflineModeIsEnabled

    source = task.metadata.dataset
    data = f"the data set {source['path']}, revision {source['revision'][:12]}"
    where = str(datasets.config.HF_DATASETS_CACHE)
    if download:
        announce(
            f"{task.metadata.name}: fetching {data}, from the Hugging Face hub into {where}, unless it is there"
        )
    try:
        with _network(download):
            task.load_data()
    except ImportError as error:
        # The standard loader of mteb decodes one video for a log line.
        reason = " ".join(str(error).split())
        raise UsageError(
            f"{task.metadata.name} cannot be loaded without a package ({reason})",
            suggestion="pip install 'mteb[video]'",
        ) from None
    except (OSError, ValueError, OfflineModeIsEnabled, HfHubHTTPError) as error:
        if not download:
            raise MissingPath(
                f"{task.metadata.name} needs {data}, which is not in {where}",
                suggestion="--download, which fetches all its videos from the Hugging Face hub into that folder",
            ) from None
        reason = " ".join(str(error).split())
        raise DownloadFailed(f"{data} cannot be fetched into {where} ({reason})") from None


@contextmanager
def _network(allowed: bool) -> Iterator[None]:
    """Keep the libraries that load data sets off the network unless it is allowed."""
    import datasets
    from huggingface_hub import constants

    if allowed:
        yield
        return
    places = [(datasets.config, "HF_HUB_OFFLINE"), (constants, "HF_HUB_OFFLINE")]
    before = [getattr(module, name) for module, name in places]
    for module, name in places:
        setattr(module, name, True)
    try:
        yield
    finally:
        for (module, name), value in zip(places, before, strict=True):
            setattr(module, name, value)


def _folder_task(folder: Path) -> AbsTaskRetrieval:
    """A task whose data are the files of a folder."""
    from mteb.abstasks import AbsTaskRetrieval
    from mteb.abstasks.task_metadata import TaskMetadata

    corpus, documents = _rows(folder, CORPUS)
    queries, asked = _rows(folder, QUERIES)
    if {corpus, queries} != {"text", "video"}:
        raise BadAnnotations(
            f"{folder}: {CORPUS} and {QUERIES} both hold {corpus}",
            "video in one of them and text in the other",
        )
    judgements = _judgements(folder, {row["id"] for row in asked}, {row["id"] for row in documents})

    class FolderTask(AbsTaskRetrieval):
        """The task of one folder: its metadata belong to the class, as `mteb` wants them."""

        metadata = TaskMetadata(
            name=folder.resolve().name or "folder",
            description=f"Text and video of the folder {folder}.",
            dataset={"path": str(folder), "revision": "local"},
            type="Any2AnyRetrieval",
            category="t2v" if corpus == "video" else "v2t",
            modalities=["text", "video"],
            eval_splits=["test"],
            eval_langs=["eng-Latn"],
            main_score="ndcg_at_10",
        )

        def load_data(self, num_proc: int | None = None, **beside: Any) -> None:
            """Make the data sets of the rows; files stay where they are."""
            self.dataset = {
                "default": {
                    "test": {
                        "corpus": _data_set(documents, corpus),
                        "queries": _data_set(asked, queries),
                        "relevant_docs": judgements,
                        "top_ranked": None,
                    }
                }
            }
            self.data_loaded = True

    task = FolderTask()
    task.load_data()
    return task


def _rows(folder: Path, name: str) -> tuple[str, list[dict[str, str]]]:
    """Whether a file holds text or video, and its rows.

    Raises:
        MissingPath: the file, or a video that it names, is not there.
        BadAnnotations: a line that cannot be read, or an id that repeats.
    """
    path = folder / name
    if not path.is_file():
        raise MissingPath(f"{folder} holds no {name}", f"{CORPUS}, {QUERIES} and {JUDGEMENTS}")
    kind, rows, ids = "", [], set()
    for place, row in read_json_lines(path):
        kind = kind or ("video" if "video" in row else "text")
        values = [row.get("id"), row.get(kind)]
        if not all(isinstance(value, str) and value for value in values):
            raise BadAnnotations(f"{place} lacks an id or a {kind}", f'{{"id": "...", "{kind}": "..."}}')
        if row["id"] in ids:
            raise BadAnnotations(f"{place} repeats the id {row['id']!r}", "each id once")
        ids.add(row["id"])
        if kind == "video" and not (folder / row["video"]).is_file():
            raise MissingPath(f"{folder / row['video']}, named in {place}, does not exist")
        rows.append({"id": row["id"], kind: str(folder / row["video"]) if kind == "video" else row["text"]})
    return kind, rows


def _judgements(folder: Path, queries: set[str], documents: set[str]) -> dict[str, dict[str, int]]:
    """The documents that fit each query.

    Raises:
        MissingPath: no such file.
        BadAnnotations: a line names what is in no other file, or its score is no whole number.
    """
    path = folder / JUDGEMENTS
    if not path.is_file():
        raise MissingPath(f"{folder} holds no {JUDGEMENTS}", f"{CORPUS}, {QUERIES} and {JUDGEMENTS}")
    found: dict[str, dict[str, int]] = {}
    for place, row in read_json_lines(path):
        query, document, score = row.get("query-id"), row.get("corpus-id"), row.get("score", 1)
        if query not in queries or document not in documents:
            raise BadAnnotations(
                f"{place} names the query {query!r} and the document {document!r}",
                f"a query-id of {QUERIES} and a corpus-id of {CORPUS}",
            )
        if not isinstance(score, int) or isinstance(score, bool):
            raise BadAnnotations(f"{place} has the score {score!r}", "a whole number")
        found.setdefault(query, {})[document] = score
    return found


def _data_set(rows: list[dict[str, str]], kind: str) -> Any:
    from datasets import Dataset, Video

    made = Dataset.from_list(rows)
    return made.cast_column("video", Video()) if kind == "video" else made
