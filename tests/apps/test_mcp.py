"""`prost mcp`: the tools on a real library, and the real command under the SDK's own client."""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from mcp import Client, StdioServerParameters
from mcp.client.stdio import stdio_client
from mcp.types import CallToolResult, ImageContent, TextContent
from PIL import Image
from tests.search.conftest import paint_video

import prost as package
from prost.apps.assistant import Assistant, ExplainArguments, _hit_in, _remove_oldest
from prost.apps.cli.main import main
from prost.apps.cli.options import open_library
from prost.model.checkpoint import load
from prost.search.library import Library
from prost.video.probe import probe

QUERY = "a red ball falls"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, toybox_folder: Path) -> Path:
    """Three videos, a file that is none, and a library of them."""
    folder = tmp_path_factory.mktemp("mcp") / "it's mine"
    folder.mkdir()
    for file in sorted(toybox_folder.glob("*.mp4"))[:3]:
        (folder / file.name).write_bytes(file.read_bytes())
    (folder / "broken.mp4").write_text("this is a text")
    return folder


@pytest.fixture(scope="module")
def library(folder: Path, untrained_folder: Path) -> Path:
    place = folder.parent / "a.prost"
    assert main(["index", str(folder), "--library", str(place), "--model", str(untrained_folder)]) == 0
    assert (
        main(["tag", str(sorted(folder.glob("toy*.mp4"))[0]), "--tag", "holiday", "--library", str(place)])
        == 0
    )
    return place


@pytest.fixture(scope="module")
def assistant(library: Path, untrained_folder: Path) -> Iterator[Assistant]:
    model = package.load(untrained_folder)
    yield Assistant(lambda: Library(library, model))


@pytest.fixture
def caches(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PROST_HOME", str(tmp_path / "home"))
    return tmp_path / "home" / "cache"


def values(result: CallToolResult) -> dict[str, Any]:
    """The structured content, which the text repeats."""
    assert not result.is_error, result.content
    text = result.content[0]
    assert isinstance(text, TextContent) and json.loads(text.text) == result.structured_content
    assert result.structured_content is not None
    return result.structured_content


def paths(result: CallToolResult) -> set[str]:
    """All files that were found; to an untrained model many are alike."""
    hits = values(result)["hits"]
    return {path for hit in hits for path in (hit["path"], *hit["copies"])}


def pictures(result: CallToolResult) -> list[Image.Image]:
    found = [each for each in result.content if isinstance(each, ImageContent)]
    return [Image.open(io.BytesIO(base64.b64decode(each.data))) for each in found]


def error(result: CallToolResult) -> str:
    assert result.is_error and len(result.content) == 1
    (text,) = result.content
    assert isinstance(text, TextContent) and "\n" not in text.text and "Traceback" not in text.text
    return text.text


def test_hits_are_those_of_a_search(assistant: Assistant, library: Path, untrained_folder: Path) -> None:
    found = values(assistant.call("search", {"query": QUERY, "limit": 2}))
    with Library(library, package.load(untrained_folder)) as opened:
        hits = opened.search(QUERY, limit=2)
    assert [hit["path"] for hit in found["hits"]] == [hit.path for hit in hits]
    assert [hit["moments"][0]["score"] for hit in found["hits"]] == [hit.score for hit in hits]
    assert found["hits"][0]["moments"][0]["start"] == hits[0].start
    assert hits.confidence is not None and hits[1].confidence is not None
    assert found["fits"] == hits.confidence.as_dict()
    assert found["hits"][1]["fits"]["statement"] == hits[1].confidence.statement
    assert list(found["fits"].values()).count(hits.confidence.statement) == 1


def test_filters(assistant: Assistant, folder: Path) -> None:
    tagged = values(assistant.call("search", {"query": QUERY, "tag": "holiday"}))["hits"]
    assert [hit["tags"] for hit in tagged] == [["holiday"]]
    assert len(paths(assistant.call("search", {"query": QUERY, "folder": str(folder)}))) == 3
    assert values(assistant.call("search", {"query": QUERY, "min_duration": 1000}))["hits"] == []
    assert len(paths(assistant.call("search", {"query": QUERY, "max_duration": 1000}))) == 3


@pytest.mark.parametrize(
    ("filter", "said"),
    [
        (
            {"folder": "/nosuch"},
            "no video of the library is in the folder /nosuch; expected: a folder of a video",
        ),
        ({"folder": "SHORTER"}, "no video of the library is in the folder"),
        ({"tag": "work"}, "no video of the library has the tag 'work'; expected: 'holiday'"),
        ({"tag": "' OR true OR '"}, "no video of the library has the tag"),
    ],
)
def test_a_folder_or_a_tag_that_the_library_does_not_have(
    assistant: Assistant, folder: Path, filter: dict[str, str], said: str
) -> None:
    given = {name: value.replace("SHORTER", str(folder.parent / "it")) for name, value in filter.items()}
    assert said in error(assistant.call("search", {"query": QUERY, **given}))


@pytest.mark.parametrize("by", ["video", "path"])
def test_evidence_of_a_moment(assistant: Assistant, by: str) -> None:
    hit = values(assistant.call("search", {"query": QUERY, "limit": 1}))["hits"][0]
    why = values(assistant.call("explain", {"query": QUERY, "video": hit[by]}))
    best = hit["moments"][0]
    assert (why["path"], why["start"], why["end"]) == (hit["path"], best["start"], best["end"])
    # The evidence is computed in full precision, the hit from prototypes of 8 bits.
    assert why["evidence"]["score"] == pytest.approx(best["score"], abs=0.02)
    assert why["in_words"][0].startswith(f"score {why['evidence']['score']:.3f} = event-sentence")
    there = values(assistant.call("explain", {"query": QUERY, "video": hit[by], "start": 0.5}))
    assert there["start"] <= 0.5 <= there["end"] + 1


def test_the_moment_that_a_search_told_is_explained_by_its_clip(tmp_path: Path) -> None:
    """Clips overlap, so that the first second of a moment lies in other clips, too."""
    film = paint_video(tmp_path / "film.mp4", ("red", 9), ("green", 7), ("red", 8), ("blue", 9), ("red", 6))
    with Library(tmp_path / "a.prost", load("toybox", "cpu")) as library:
        library.add(film)
        (hit,) = library.search("a red ball", per_video=8)
        assert len(hit.moments) >= 3
        for moment in hit.moments:
            asked = ExplainArguments(query="a red ball", video=str(film), start=round(moment.start, 1))
            assert _hit_in(library, hit.video, asked).moments == (moment,)


def test_the_figure_is_a_picture(assistant: Assistant) -> None:
    pytest.importorskip("matplotlib")
    hit = values(assistant.call("search", {"query": QUERY, "limit": 1}))["hits"][0]
    (figure,) = pictures(assistant.call("explain", {"query": QUERY, "video": hit["video"], "figure": True}))
    assert figure.format == "PNG" and figure.width > 600


def test_frames_of_a_moment_have_the_shape_of_their_video(assistant: Assistant, folder: Path) -> None:
    path = sorted(folder.glob("toy*.mp4"))[0]
    info = probe(path)
    result = assistant.call("clip", {"video": str(path), "start": 0.5, "end": 2.0, "frames": 3})
    shown = pictures(result)
    assert len(shown) == 3 and {each.format for each in shown} == {"JPEG"}
    assert max(shown[0].size) == 512
    assert shown[0].width / shown[0].height == pytest.approx(info.width / info.height, rel=0.02)
    times = values(result)["frame_times"]
    assert times == sorted(times) and 0.4 < times[0] < times[-1] < 2.0


def test_a_file_is_cut_into_the_cache_and_used_again(
    assistant: Assistant, folder: Path, caches: Path
) -> None:
    path = sorted(folder.glob("toy*.mp4"))[0]
    before = sorted(folder.iterdir())
    asked = {"video": str(path), "start": 0.5, "end": 1.5, "form": "file"}
    cut = Path(values(assistant.call("clip", asked))["file"])
    assert caches in cut.parents and 0.8 < probe(cut).duration < 2.2
    written = cut.stat().st_mtime_ns
    assert Path(values(assistant.call("clip", asked))["file"]) == cut and cut.stat().st_mtime_ns == written
    assert sorted(folder.iterdir()) == before


def test_clips_that_were_cut_first_give_way(tmp_path: Path) -> None:
    for place, size in enumerate((30, 40, 50)):
        (tmp_path / f"{place}.mp4").write_bytes(bytes(size))
        os.utime(tmp_path / f"{place}.mp4", (place, place))
    (tmp_path / ".prost-7-3.mp4").write_bytes(bytes(500))  # another assistant writes it
    for most, left in ((120, {"0", "1", "2"}), (100, {"1", "2"}), (10, {"2"})):
        _remove_oldest(tmp_path, most)
        assert {path.stem for path in tmp_path.iterdir()} == left | {".prost-7-3"}


@pytest.mark.parametrize(
    ("tool", "arguments", "words"),
    [
        ("search", {}, "argument query is missing; expected: a sentence that describes what is seen"),
        ("search", {"query": " "}, 'argument query: " "; expected: at least 1 character'),
        (
            "search",
            {"query": QUERY, "limit": 1000},
            "argument limit: 1000; expected: less than or equal to 50",
        ),
        ("search", {"query": QUERY, "limit": "many"}, 'argument limit: "many"; expected: a valid integer'),
        ("search", {"query": QUERY, "colour": "red"}, "no argument colour; expected: query, limit, folder"),
        ("search", {"query": "a\nb" * 1000}, "…; expected: at most 1000 characters"),
        ("clip", {"video": "VIDEO", "start": 0}, "argument end is missing; expected: seconds; at most 600"),
        ("clip", {"video": "VIDEO", "start": 0, "end": 1, "form": "gif"}, "expected: 'frames' or 'file'"),
        ("explain", {"query": QUERY, "video": "/etc/passwd"}, "is not in the library"),
        ("explain", {"query": QUERY, "video": "0" * 32}, "is not in the library"),
        ("explain", {"query": QUERY, "video": "BROKEN"}, "cannot be shown"),
        ("explain", {"query": QUERY, "video": "VIDEO", "start": 1e6}, "a start before the end"),
        ("clip", {"video": "VIDEO", "start": 2, "end": 1}, "a length above 0"),
        ("clip", {"video": "VIDEO", "start": 0, "end": 601}, "600 s at most"),
        ("clip", {"video": "VIDEO", "start": 1000, "end": 1001}, "a start before the end"),
        ("clip", {"video": "VIDEO", "start": "NaN", "end": 1}, "argument start"),
        ("delete", {}, "no tool 'delete'"),
    ],
)
def test_errors_are_one_line(
    assistant: Assistant, folder: Path, tool: str, arguments: dict[str, Any], words: str
) -> None:
    names = {"VIDEO": str(sorted(folder.glob("toy*.mp4"))[0]), "BROKEN": str(folder / "broken.mp4")}
    given = {
        name: names.get(value, value) if isinstance(value, str) else value
        for name, value in arguments.items()
    }
    said = error(assistant.call(tool, given))
    assert words in said
    assert "folder, tag" not in said or "no argument" in said


def test_a_file_that_is_gone_or_has_changed(folder: Path, library: Path, untrained_folder: Path) -> None:
    assistant = Assistant(lambda: Library(library, package.load(untrained_folder)))
    path = sorted(folder.glob("toy*.mp4"))[2]
    status = path.stat()
    asked = {"video": str(path), "start": 0.0, "end": 1.0}
    os.utime(path, ns=(0, 0))
    assert "has changed since it was indexed" in error(assistant.call("clip", asked))
    away = path.with_suffix(".away")
    path.rename(away)
    assert "is gone" in error(assistant.call("clip", asked))
    away.rename(path)
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert not assistant.call("clip", asked).is_error


def test_a_library_that_was_replaced_is_opened_anew(
    library: Path, untrained_folder: Path, tmp_path: Path
) -> None:
    assistant = Assistant(lambda: open_library(str(library), str(untrained_folder), "cpu"))
    values(assistant.call("search", {"query": QUERY}))
    away = library.rename(tmp_path / "away.prost")
    assert error(assistant.call("search", {"query": QUERY}))
    away.rename(library)
    assert len(paths(assistant.call("search", {"query": QUERY}))) == 3


def test_a_missing_library_is_reported_at_once(prost: Callable[..., Any], tmp_path: Path) -> None:
    said = prost("mcp", "--library", tmp_path / "none.prost")
    assert (said.code, said.out) == (2, "")
    assert said.err.startswith("error: ") and said.err.count("\n") == 1


def test_a_model_that_is_not_here_is_reported_at_once(library: Path) -> None:
    """As by `prost serve`, and before the assistant connects; in a process of its own, which `prost mcp` ends."""
    said = subprocess.run(
        [*command(library), "--model", "nosuch"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    assert (said.returncode, said.stdout) == (2, "")
    assert said.stderr.startswith("error: nosuch does not exist; expected: ") and said.stderr.count("\n") == 1


def test_a_missing_extra_says_how_to_install_it(
    prost: Callable[..., Any], library: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "mcp", None)
    said = prost("mcp", "--library", library)
    assert said.code == 2 and "pip install '.[mcp]' in the folder of prost's source" in said.err


def command(library: Path) -> list[str]:
    return [sys.executable, "-m", "prost", "mcp", "--library", str(library), "--device", "cpu"]


@pytest.mark.slow
@pytest.mark.parametrize("mode", ["auto", "legacy"])
def test_a_session_of_the_sdk_client(library: Path, tmp_path: Path, mode: Any) -> None:
    """Both ways in which clients connect."""

    async def session() -> tuple[list[Any], list[CallToolResult]]:
        program, *arguments = command(library)
        server = StdioServerParameters(command=program, args=arguments, env=dict(os.environ))
        with (tmp_path / "log").open("w") as log:
            async with Client(stdio_client(server, log), mode=mode) as client:
                tools = (await client.list_tools()).tools
                first = await client.call_tool("search", {"query": QUERY, "limit": 1})
                video = values(first)["hits"][0]["video"]
                others = await asyncio.gather(
                    client.call_tool("explain", {"query": QUERY, "video": video}),
                    client.call_tool("clip", {"video": video, "start": 0, "end": 1, "frames": 2}),
                    client.call_tool("clip", {"video": "none", "start": 0, "end": 1}),
                )
                return tools, [first, *others]

    tools, (first, why, shown, wrong) = asyncio.run(session())
    assert [tool.name for tool in tools] == ["search", "explain", "clip"]
    assert all(tool.annotations.read_only_hint for tool in tools)
    assert set(tools[2].input_schema["properties"]) == {"video", "start", "end", "form", "frames"}
    assert values(why)["video"] == values(first)["hits"][0]["video"]
    assert len(pictures(shown)) == 2
    assert "is not in the library" in error(wrong)
    assert "Traceback" not in (tmp_path / "log").read_text()


REQUESTS = [
    {
        "jsonrpc": "2.0", "id": 1, "method": "initialize",
        "params": {
            "protocolVersion": "2025-06-18", "capabilities": {}, "clientInfo": {"name": "test", "version": "1"},
        },
    },
    {"jsonrpc": "2.0", "method": "notifications/initialized"},
    {"jsonrpc": "2.0", "id": 2, "method": "tools/list"},
]  # fmt: skip


@pytest.mark.slow
def test_it_ends_when_stdin_ends(library: Path) -> None:
    with subprocess.Popen(
        command(library), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for request in REQUESTS:
            process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        answers = [json.loads(process.stdout.readline()) for _ in range(2)]
        process.stdin.close()
        rest, log = process.stdout.read(), process.stderr.read()
        assert process.wait(60) == 0
    assert [answer["id"] for answer in answers] == [1, 2] and answers[0]["result"]["serverInfo"][
        "name"
    ] == "prost"
    assert rest == "" and "Traceback" not in log


def call(number: int, name: str, **arguments: Any) -> dict[str, Any]:
    parameters = {"name": name, "arguments": arguments}
    return {"jsonrpc": "2.0", "id": number, "method": "tools/call", "params": parameters}


@pytest.mark.slow
def test_what_runs_when_stdin_ends_is_answered(library: Path, folder: Path) -> None:
    """The model is still being loaded when stdin ends."""
    path = str(sorted(folder.glob("toy*.mp4"))[0])
    requests = [
        *REQUESTS,
        call(3, "search", query=QUERY, limit=1),
        call(4, "clip", video=path, start=0, end=1, frames=1),
    ]
    text = "".join(json.dumps(request) + "\n" for request in requests)
    done = subprocess.run(
        command(library), input=text, capture_output=True, text=True, timeout=120, check=False
    )
    answers = {answer["id"]: answer for answer in map(json.loads, done.stdout.splitlines())}
    assert done.returncode == 0 and done.stderr == "" and sorted(answers) == [1, 2, 3, 4]
    assert len(answers[3]["result"]["structuredContent"]["hits"]) == 1
    assert answers[4]["result"]["structuredContent"]["path"] == path


@pytest.mark.slow
def test_nobody_reads_the_answers(library: Path) -> None:
    with subprocess.Popen(
        command(library), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        process.stdout.close()
        for request in [*REQUESTS, call(3, "search", query=QUERY)]:
            process.stdin.write(json.dumps(request) + "\n")
        process.stdin.close()
        assert process.wait(60) == 0 and process.stderr.read() == ""


@pytest.mark.slow
@pytest.mark.skipif(sys.platform == "win32", reason="Windows has no such signals")
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
@pytest.mark.parametrize("busy", [False, True])
def test_a_signal_ends_it(library: Path, number: signal.Signals, busy: bool) -> None:
    with subprocess.Popen(
        command(library), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdin is not None and process.stdout is not None and process.stderr is not None
        for request in REQUESTS:
            process.stdin.write(json.dumps(request) + "\n")
        process.stdin.flush()
        process.stdout.readline(), process.stdout.readline()
        if busy:  # the model is being loaded, and a call waits for it
            process.stdin.write(json.dumps(call(3, "search", query=QUERY)) + "\n")
            process.stdin.flush()
            time.sleep(0.2)
        process.send_signal(number)
        assert process.wait(60) == 128 + number
        assert process.stderr.read() == "stopped\n"
        process.stdin.close()
