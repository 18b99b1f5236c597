"""`prost demo`: draws videos, indexes them, searches them and writes a page of the hits."""

from __future__ import annotations

import shutil
import sys
import webbrowser
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from prost.apps.cli.index import add
from prost.apps.cli.output import print_line, progress, say
from prost.apps.cli.search import print_hits
from prost.model.catalogue import BUNDLED, FIRST_CHOICE

if TYPE_CHECKING:
    from prost.page.results import Answer, ExpectedMoment
    from prost.search.library import Library

SEED = 0
WHOLE_VIDEOS, SINGLE_EVENTS = 4, 2
HITS_A_SENTENCE = 3


def demo(
    folder: Annotated[
        Path, typer.Option("--folder", help="Folder for the videos, the library and the page.")
    ] = Path("demo"),
    videos: Annotated[int, typer.Option("--videos", min=8, help="How many videos to draw.")] = 60,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in the browser.")] = False,
) -> None:
    """Draw videos, index them and search them. What is there already is not made again."""
    from prost.model.checkpoint import load_prost
    from prost.page.results import write_page
    from prost.search.library import Library

    captions = _videos(folder / "videos", videos)
    model = load_prost(BUNDLED)
    with Library(folder / "library.prost", model) as library:
        say(f"indexed: {add(library, [folder / 'videos'])}")
        answers = _answers(library, questions(folder / "videos", captions))
        stats = library.stats()
    for answer in answers:
        print_hits(answer.hits, f"“{answer.query}”")
    first = sum(_is_right(answer) for answer in answers)
    print_line(f"the expected video came first for {first} of {len(answers)} sentences")
    page = folder / "index.html"
    write_page(
        page,
        answers,
        object_phrase_weight=model.config.object_phrase_weight,
        summary=f"{len(answers)} sentences, {stats.videos} videos in {stats.clips} clips, model {stats.model}",
    )
    print_line(f"page with all hits: {page}")
    called = "python -m prost" if sys.argv[0].endswith("__main__.py") else sys.argv[0]
    program = "prost" if shutil.which("prost") else called
    print_line(f"to search them in a browser: {program} serve --library {folder / 'library.prost'} --open")
    print_line(
        f"next, your own videos ({BUNDLED} knows only drawn ones): "
        f"{program} models pull {FIRST_CHOICE} && {program} index ~/Videos --model {FIRST_CHOICE}"
    )
    if open_page:
        webbrowser.open(page.absolute().as_uri())


def questions(folder: Path, captions: Sequence[dict[str, Any]]) -> list[tuple[str, ExpectedMoment]]:
    """Choose sentences that are true of only one moment in a folder of Toybox videos.

    Args:
        folder: the folder of the videos.
        captions: the lines of its `captions.jsonl`.

    Returns:
        sentences with the moments that they describe: captions of whole videos, starting with one that has a twin, then
        single events of the longest videos.
    """
    from prost.page.results import ExpectedMoment

    by_length = sorted(captions, key=lambda video: video["duration"])
    short = by_length[: len(by_length) // 2]
    twins, others = (
        [video for video in short if (video["twin"] is not None) == has_twin] for has_twin in (True, False)
    )
    step = max(1, len(others) // WHOLE_VIDEOS)
    # A video's first caption is true of no other video in its folder.
    whole = [
        (
            video["captions"][0],
            ExpectedMoment(path=folder / video["video"], start=0.0, end=video["duration"]),
        )
        for video in [*twins[:1], *others[::step]]
    ]
    things = Counter((thing["colour"], thing["name"]) for video in captions for thing in video["objects"])
    single = [
        (
            event["text"],
            ExpectedMoment(path=folder / video["video"], start=event["start"], end=event["end"]),
        )
        for video in reversed(by_length)
        for event in [event for event in video["events"] if _is_told_once(event, video, things)][:1]
    ]
    return whole[:WHOLE_VIDEOS] + single[:SINGLE_EVENTS]


def _is_told_once(event: dict[str, Any], video: dict[str, Any], things: Counter[tuple[str, str]]) -> bool:
    """Whether the thing that acts looks like no other in the folder, and acts only once."""
    actor = event["objects"][0]
    thing = video["objects"][actor]
    acts = sum(other["objects"][0] == actor for other in video["events"])
    return things[thing["colour"], thing["name"]] == 1 and thing["colour"] in event["text"] and acts == 1


def _videos(folder: Path, videos: int) -> list[dict[str, Any]]:
    """The lines of the folder's `captions.jsonl`; the videos are drawn unless that many are there already."""
    from prost.data.toybox import read_captions, write

    if not (folder / "captions.jsonl").is_file() or len(read_captions(folder)) != videos:
        with progress("drawing", "videos") as advance:
            write(folder, videos=videos, seed=SEED, progress=advance)
    return read_captions(folder)


def _answers(library: Library, asked: Sequence[tuple[str, ExpectedMoment]]) -> list[Answer]:
    from prost.page.results import Answer

    return [
        Answer(query=sentence, hits=library.search(sentence, limit=HITS_A_SENTENCE), expected=expected)
        for sentence, expected in asked
    ]


def _is_right(answer: Answer) -> bool:
    return (
        bool(answer.hits)
        and answer.expected is not None
        and Path(answer.hits[0].path).samefile(answer.expected.path)
    )
