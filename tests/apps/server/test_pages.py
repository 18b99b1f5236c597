"""The page without scripts: what people can do with forms and links alone, and that no text can write into it."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from html import escape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from tests.apps.server.conftest import Running

from prost.model.prost import ProST
from prost.search.library import Library

QUERY = "a red ball falls"
HOSTILE = "<script>alert('1')</script> & \"x\" onerror=alert(1)"


class Links(HTMLParser):
    """Addresses and elements of a page."""

    def __init__(self, html: str) -> None:
        super().__init__()
        self.addresses: list[str] = []
        self.elements: list[str] = []
        self.attributes: set[str] = set()
        self.feed(html)
        self.close()

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        for name, value in attrs:
            self.attributes.add(name)
            if name in ("href", "src", "action", "poster") and value:
                self.addresses.append(value)


def page(running: Running, address: str, status: int = 200, **choices: Any) -> str:
    answer = running.client.get(address, **choices)
    assert answer.status_code == status, answer.text
    assert answer.headers["content-type"] == "text/html; charset=utf-8"
    return answer.text


def test_a_search_shows_the_hits_of_the_api(running: Running) -> None:
    html = page(running, "/", params={"q": QUERY})
    hits = running.get("/api/search", params={"q": QUERY})["hits"]
    places = [html.index(f">{hit['video']['name']}</h3>") for hit in hits]
    assert len(places) == 8 and places == sorted(places)
    start = hits[0]["moment"]["start"]
    assert f"/video/{hits[0]['video']['id']}?q=a+red+ball+falls&amp;start={start:.3f}" in html
    assert f'value="{QUERY}"' in html


@pytest.mark.parametrize(
    "address", ["/", "/?q=a+red+ball+falls", "/library", "/video/{video}?q=a+ball&start=1&end=2"]
)
def test_every_address_on_a_page_leads_somewhere(running: Running, address: str) -> None:
    html = page(running, address.format(video=running.first("0")["id"]))
    for target in set(Links(html).addresses):
        assert not urlsplit(target).netloc
        if not target.startswith("#") and "/frame?" not in target and target != "/picture":
            status = running.client.get(target).status_code
            # Where a form is sent with POST, and previews, see elsewhere.
            assert status == 200 or (status == 405 and target in ("/export", "/library/index")), target


def test_filters_are_applied_and_stay_in_the_form(running: Running) -> None:
    folders = {folder["name"]: folder["id"] for folder in running.get("/api/folders")["folders"]}
    html = page(
        running, "/", params={"q": QUERY, "folder": folders["more"], "max_duration": "500", "tag": ""}
    )
    assert html.count('<li class="card') == 2
    assert "2 on" in html and f'<option value="{folders["more"]}" selected>' in html and 'value="500"' in html


def test_more_hits_follow(running: Running) -> None:
    html = page(running, "/", params={"q": QUERY, "offset": 5})
    assert html.count('<li class="card') == 3 and '<span class="rank">6</span>' in html


@pytest.mark.parametrize(
    ("query", "said"),
    [
        ({"q": "a", "min_duration": "long"}, "min_duration"),
        ({"q": "a", "folder": "../../etc"}, "folder"),
        ({"q": "a", "folder": "0" * 24}, "no such folder"),
        ({"q": "a", "after": "yesterday"}, "after"),
        ({"q": "a", "words": "perhaps"}, "words"),
        ({"q": "a" * 1001}, "q"),
        ({"like": "../../etc/passwd"}, "no such video"),
        ({"like": "0" * 32 + "-" + "0" * 16}, "no such video"),
    ],
)
def test_what_cannot_be_searched_for_is_said_on_the_page(
    running: Running, query: dict[str, str], said: str
) -> None:
    answer = running.client.get("/", params=query)
    assert 400 <= answer.status_code < 500
    assert said in answer.text and 'id="search"' in answer.text


@pytest.mark.parametrize("address", ["/video/nothing", "/video/" + "0" * 32 + "-" + "0" * 16])
def test_a_video_that_is_not_here_is_a_page_that_says_so(running: Running, address: str) -> None:
    assert "no such video" in page(running, address, 404)


def test_wrong_times_of_a_video_are_a_page_that_says_so(running: Running) -> None:
    video = running.first("0")["id"]
    assert "start" in page(running, f"/video/{video}?start=never", 400)
    assert "<video" in page(running, f"/video/{video}?start=99999&end=1")


def test_a_moment_beyond_the_end_opens_the_whole_video(running: Running) -> None:
    video = running.first("0")
    html = page(running, f"/video/{video['id']}?q=a+ball&start=99999&end=199999&why=1")
    assert f'data-start="0.000" data-end="{video["duration"]:.3f}"' in html


def test_a_video_has_a_curve_and_its_moments(running: Running) -> None:
    hit = running.get("/api/search", params={"q": QUERY})["hits"][0]
    moment = hit["moment"]
    html = page(
        running,
        f"/video/{hit['video']['id']}",
        params={"q": QUERY, "start": moment["start"], "end": moment["end"]},
    )
    assert "<polyline" in html and hit["video"]["media"] in html
    assert f'data-start="{moment["start"]:.3f}"' in html and 'aria-current="true"' in html


def test_a_file_that_failed_has_its_reason(running: Running) -> None:
    video = running.first("broken")
    assert "<video" not in page(running, f"/video/{video['id']}")
    assert video["reason"] in page(running, f"/video/{video['id']}")
    library = page(running, "/library")
    assert "broken.mp4" in library and video["reason"] in library


def test_a_picture_finds_its_video_by_a_form(running: Running) -> None:
    video = running.first("0")
    picture = running.client.get(f"/api/videos/{video['id']}/frame?time=1&height=144").content
    answer = running.client.post("/picture", files={"picture": ("a.jpg", picture)})
    assert answer.status_code == 200
    assert answer.text.index(f">{video['name']}</h3>") == answer.text.index("</h3>") - len(video["name"]) - 1
    wrong = running.client.post("/picture", files={"picture": ("a.jpg", b"text")})
    assert wrong.status_code == 400 and "no picture" in wrong.text


def test_hits_of_a_picture_lead_to_no_further_ones(running: Running, monkeypatch: pytest.MonkeyPatch) -> None:
    """The picture is not kept, so an address of further hits could only lead to the start page."""
    monkeypatch.setattr("prost.apps.server.pages.HITS_OF_A_PICTURE", 3)
    video = running.first("0")
    picture = running.client.get(f"/api/videos/{video['id']}/frame?time=1&height=144").content
    answer = running.client.post("/picture", files={"picture": ("a.jpg", picture)})
    assert answer.text.count("</h3>") == 3
    assert "offset=" not in answer.text


def test_neither_names_nor_queries_write_into_the_page(
    serve: Callable[..., Any], tmp_path: Path, toybox_folder: Path, toybox_model: ProST
) -> None:
    film = tmp_path / HOSTILE.replace("/", "") / f"{HOSTILE.replace('/', '')}.mp4"
    film.parent.mkdir()
    shutil.copy2(sorted(toybox_folder.glob("*.mp4"))[0], film)
    film.with_suffix(".srt").write_text(f"1\n00:00:00,000 --> 00:00:02,000\nball {HOSTILE}\n")
    film.with_name("<b>broken.mp4").write_text("text")
    Library(tmp_path / "hostile.prost", toybox_model).add(film.parent, tags=[HOSTILE], workers=1)
    with serve(tmp_path / "hostile.prost", roots=(film.parent,)) as running:
        video = running.first(".mp4")
        video = next(each for each in running.get("/api/videos")["videos"] if each["status"] == "indexed")
        for address, query in (
            ("/", {"q": f"ball {HOSTILE}", "tag": HOSTILE}),
            ("/", {"q": "ball", "words": "only"}),
            ("/", {}),
            ("/library", {}),
            (f"/video/{video['id']}", {"q": f"ball {HOSTILE}"}),
        ):
            html = page(running, address, params=query)
            assert (
                escape("alert('1')", quote=False) not in html.replace("&#39;", "")
                and "<script>alert" not in html
            )
            links = Links(html)
            assert links.elements.count("script") == 2 and "b" not in links.elements
            assert not {name for name in links.attributes if name.startswith("on")}
            assert "&lt;script&gt;alert" in html or "&lt;b&gt;" in html


def test_an_empty_library_says_what_to_do(
    serve: Callable[..., Any], tmp_path: Path, toybox_model: ProST
) -> None:
    Library(tmp_path / "empty.prost", toybox_model)
    with serve(tmp_path / "empty.prost", roots=()) as running:
        assert "No videos yet" in page(running, "/")
        assert "Nothing was found" in page(running, "/", params={"q": QUERY})
        assert "prost index" in page(running, "/library")


def test_without_the_token_there_is_only_the_login(serve: Callable[..., Any]) -> None:
    token = "a-token-of-more-than-thirty-two-characters"
    with serve(token=token) as running:
        html = {"Accept": "text/html"}
        assert running.client.get("/", headers=html).headers["location"] == "/login"
        form = page(running, "/login", headers=html)
        assert "films" not in form and 'name="token"' in form
        assert "not the token" in running.client.post("/login", data={"token": "wrong"}).text
        assert running.client.post("/login", data={"token": token}).status_code == 303
        assert 'id="search"' in page(running, "/", headers=html)


def test_pages_keep_nothing_in_caches_and_allow_no_inline_script(running: Running) -> None:
    for address in ("/", "/library", "/static/main.js"):
        answer = running.client.get(address)
        assert "script-src 'self'" in answer.headers["content-security-policy"]
        assert "unsafe-inline" not in answer.headers["content-security-policy"]
    assert running.client.get("/").headers["cache-control"] == "no-store"
    for address in ("/", "/?q=a+ball", "/library"):
        links = Links(running.client.get(address).text)
        assert "style" not in links.elements and "style" not in links.attributes


def best_moment(running: Running) -> tuple[str, dict[str, Any]]:
    """Video and moment that a search finds first."""
    hit = running.get("/api/search", params={"q": QUERY})["hits"][0]
    return hit["video"]["id"], hit["moment"]


def test_evidence_is_on_the_page_when_it_is_asked_for(running: Running) -> None:
    video, moment = best_moment(running)
    span = {"q": QUERY, "start": moment["start"], "end": moment["end"]}
    assert "How the score adds up" not in page(running, f"/video/{video}", params=span)
    html = page(running, f"/video/{video}", params={**span, "why": 1})
    evidence = running.get(f"/api/videos/{video}/evidence", params=span)
    assert f"has the score {evidence['score']:.3f}" in html
    table = html[html.index("How the score adds up") : html.index('<tr class="total">')]
    parts = [float(part.partition("<")[0]) for part in table.split("<td>")[1:]]
    assert sum(parts) == pytest.approx(evidence["score"], abs=0.001 * len(parts))
    assert html.count('class="heat"') == len(evidence["frames"]) == 12
    assert ("their curves coincide" in html) == evidence["events_coincide"]
    first = escape(evidence["frames"][0]["heat"][3])
    chosen = page(running, f"/video/{video}", params={**span, "why": 1, "slot": 4})
    assert f'src="{first}"' in chosen and f'src="{first}"' not in html
    for address in set(Links(chosen).addresses):
        if "/heat?" in address or "seen=true" in address:
            assert running.client.get(address).status_code == 200


@pytest.mark.parametrize("form", ["json", "csv", "fcpxml", "clips"])
def test_selected_moments_are_exported_by_a_form(running: Running, form: str) -> None:
    video, moment = best_moment(running)
    selection = f"{video},{moment['start']:.3f},{moment['end']:.3f}"
    assert f'value="{selection}"' in page(running, "/", params={"q": QUERY})
    answer = running.client.post("/export", data={"form": form, "q": QUERY, "selection": [selection]})
    assert answer.status_code == 200, answer.text
    assert answer.headers["content-disposition"].startswith("attachment")
    expected = running.client.post(
        "/api/export",
        json={
            "form": form,
            "query": QUERY,
            "selection": [{"video": video, "start": f"{moment['start']:.3f}", "end": f"{moment['end']:.3f}"}],
        },
    )
    assert answer.headers["content-type"] == expected.headers["content-type"]
    assert len(answer.content) == pytest.approx(len(expected.content), rel=0.1)


@pytest.mark.parametrize(
    ("data", "status", "said"),
    [
        ({"form": "json"}, 400, "no moment is selected"),
        ({"form": "exe", "selection": "{0}"}, 400, "form"),
        ({"form": "json", "selection": "../etc,0,1"}, 400, "selection"),
        ({"form": "json", "selection": "0" * 32 + "-" + "0" * 16 + ",0,1"}, 404, "no such video"),
        ({"form": "json", "selection": "{0},2,1"}, 400, "from 2 to 1 s"),
    ],
)
def test_an_export_that_is_refused_is_a_page_that_says_why(
    running: Running, data: dict[str, str], status: int, said: str
) -> None:
    data = {name: value.format(running.first("0")["id"]) for name, value in data.items()}
    answer = running.client.post("/export", data=data)
    assert answer.status_code == status and said in answer.text and "<main" in answer.text


def test_a_folder_that_is_not_offered_cannot_be_indexed(running: Running) -> None:
    for folder, status in (("0" * 24, 404), ("../..", 400), ("", 400)):
        answer = running.client.post("/library/index", data={"folder": folder})
        assert answer.status_code == status and "<main" in answer.text
    assert running.client.post("/library/cancel", data={"job": "0" * 32}).status_code == 404
