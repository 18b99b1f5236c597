"""The page as people use it, in a real browser against a real server with real films."""

from __future__ import annotations

import csv
import io
import json
import shutil
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import av
import numpy as np
import pytest
from tests.apps.server.browsing import PHONE, WIDE, Visit, chromium
from tests.apps.server.conftest import Running

from prost.model.prost import ProST
from prost.search.library import Library

pytestmark = pytest.mark.slow

QUERY = "a red ball falls"


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with chromium() as browser:
        yield browser


@pytest.fixture
def visit(browser: Any, running: Running) -> Iterator[Callable[..., Visit]]:
    """Open pages of the server that the module shares; at the end they have logged nothing."""
    visits: list[Visit] = []

    def open_page(address: str = "/", base: str | None = None, **choices: Any) -> Visit:
        visits.append(Visit(browser, base or f"http://127.0.0.1:{running.port}", **choices))
        visits[-1].page.goto(address)
        return visits[-1]

    yield open_page
    for each in visits:
        each.check()
        each.close()


def ask(page: Any, query: str) -> None:
    page.fill("#q", query)
    page.wait_for_function(
        "query => document.querySelector('#heading').textContent.includes(query)", arg=query
    )


def click_more_twice(page: Any) -> None:
    """Add the link to more hits, which so few films do not have, and click it twice at once."""
    page.evaluate(
        """() => {
            const link = Object.assign(document.createElement("a"), {id: "more", textContent: "More hits"});
            link.href = "/?q=a+red+ball+falls&offset=4";
            document.querySelector("#results").append(link);
            link.click();
            link.click();
        }"""
    )


def test_it_answers_as_one_types(visit: Callable[..., Visit], running: Running) -> None:
    page = visit().page
    page.wait_for_selector("#results .card")
    page.locator("#q").press_sequentially(QUERY, delay=20)
    page.wait_for_function(
        "query => document.querySelector('#heading').textContent.includes(query)", arg=QUERY
    )
    names = page.locator("#results .card h3").all_text_contents()
    answer = running.get("/api/search", params={"q": QUERY})
    assert names == [hit["video"]["name"] for hit in answer["hits"]]
    assert "videos found" in page.locator("#announcement").text_content()
    assert page.url.endswith("/?q=a+red+ball+falls")


def test_an_old_answer_does_not_replace_a_newer_one(visit: Callable[..., Visit]) -> None:
    page = visit().page
    release: list[Any] = []
    page.route("**/?q=slow*", lambda route: release.append(route))
    page.fill("#q", "slow")
    page.wait_for_function("() => document.querySelector('#results').ariaBusy === 'true'")
    page.wait_for_timeout(50)
    ask(page, "a blue boat")
    for route in release:
        route.abort()
    page.wait_for_timeout(200)
    assert "a blue boat" in page.text_content("#heading")
    assert page.locator("#trouble").is_hidden()


def test_only_one_of_text_picture_and_more_hits_is_put_in_place(
    visit: Callable[..., Visit], running: Running
) -> None:
    page = visit("/?q=a+red+ball+falls").page
    frame = running.client.get(f"/api/videos/{running.first('0')['id']}/frame?time=1&height=144").content
    picture = {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": frame}
    heading = "text => document.querySelector('#heading').textContent.includes(text)"
    held: list[Any] = []

    def let_go(put_in_place: str) -> None:
        """Answer what was held, and see that the results stay as they are."""
        cards = page.locator("#results .card").count()
        for route in held:
            route.continue_()
        page.wait_for_timeout(300)
        assert put_in_place in page.text_content("#heading")
        assert page.locator("#results .card").count() == cards and page.locator("#trouble").is_hidden()
        held.clear()

    page.route("**/picture", lambda route: held.append(route))
    page.set_input_files("#file", picture)
    page.wait_for_selector("#results[aria-busy]")
    ask(page, "a blue boat")
    assert len(held) == 1 and page.input_value("#q") == "a blue boat"
    let_go("a blue boat")
    page.unroute("**/picture")

    # The text waits for a pause in the typing when the picture comes.
    page.fill("#q", "a green box")
    page.set_input_files("#file", picture)
    page.wait_for_function(heading, arg="like the picture")
    let_go("like the picture")

    ask(page, QUERY)
    page.route("**/?q=*&offset=*", lambda route: held.append(route))
    click_more_twice(page)
    page.wait_for_selector("#more[aria-busy]")
    page.wait_for_timeout(100)
    assert len(held) == 1
    ask(page, "a blue boat")
    let_go("a blue boat")


def test_more_hits_are_added_once(visit: Callable[..., Visit]) -> None:
    page = visit("/?q=a+red+ball+falls").page
    click_more_twice(page)
    page.wait_for_selector("#more", state="detached")
    page.wait_for_timeout(300)
    assert page.locator("#results .card").count() == 8 + 4


def test_an_invalid_filter_leaves_no_search_running(visit: Callable[..., Visit]) -> None:
    page = visit("/?q=a+red+ball+falls").page
    page.route("**/?q=slow*", lambda route: None)
    page.click(".filters summary")
    page.fill("#q", "slow")
    page.wait_for_selector("#results[aria-busy]")
    page.fill("[name=min_duration]", "-1")
    page.locator("[name=min_duration]").blur()
    page.wait_for_selector("#results:not([aria-busy])")


def test_a_hit_opens_at_its_moment(visit: Callable[..., Visit], running: Running) -> None:
    page = visit("/?q=a+red+ball+falls").page
    hit = running.get("/api/search", params={"q": QUERY})["hits"][0]
    page.locator("#results .film").first.click()
    page.wait_for_selector("#video")
    page.wait_for_function(
        "() => document.querySelector('#video').readyState >= 1 && !document.querySelector('#video').seeking"
    )
    assert page.evaluate("video.currentTime") == pytest.approx(hit["moment"]["start"], abs=0.05)
    assert page.locator(".curve polyline").count() == 1
    page.locator("#curve").focus()
    page.keyboard.press("Home")
    page.wait_for_function("() => video.currentTime === 0")
    page.keyboard.press("ArrowRight")
    page.wait_for_function("() => video.currentTime === 1")
    for modifier in ("Control", "Meta", "Shift"):
        page.keyboard.press(f"{modifier}+ArrowUp")
    assert page.evaluate("video.currentTime") == 1
    box = page.locator("#curve").bounding_box()
    page.mouse.click(box["x"] + box["width"] / 2, box["y"] + box["height"] / 2)
    half = hit["video"]["duration"] / 2
    page.wait_for_function("half => Math.abs(video.currentTime - half) < 0.1", arg=half)
    assert page.get_attribute("#curve", "aria-valuenow") == f"{half:.1f}"
    page.keyboard.press("Escape")
    page.wait_for_selector("#results .card")
    assert page.input_value("#q") == QUERY


def test_filters(visit: Callable[..., Visit], running: Running) -> None:
    folders = {folder["name"]: folder["id"] for folder in running.get("/api/folders")["folders"]}
    page = visit("/?q=a+red+ball+falls").page
    assert page.locator("#results .card").count() == 8
    page.click(".filters summary")
    page.select_option("[name=folder]", folders["more"])
    page.wait_for_function("() => document.querySelectorAll('#results .card').length === 2")
    assert "1 on" in page.text_content(".filters summary")
    page.fill("[name=min_duration]", "9999")
    page.locator("[name=min_duration]").blur()
    page.wait_for_selector("#results .state")
    assert "No video passes the filters" in page.text_content("#results")
    page.click("#clear")
    page.wait_for_function("() => document.querySelectorAll('#results .card').length === 8")
    assert "min_duration" not in page.url


def test_only_the_keyboard(visit: Callable[..., Visit]) -> None:
    page = visit("/?q=a+red+ball+falls").page
    page.keyboard.press("/")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("ArrowDown")
    place = "[...document.querySelectorAll('#results .film')].indexOf(document.activeElement)"
    assert page.evaluate(place) == 0
    for key, expected in (("ArrowRight", 1), ("ArrowDown", 5), ("ArrowUp", 1), ("End", 7), ("Home", 0)):
        page.keyboard.press(key)
        assert page.evaluate(place) == expected, key
    for modifier in ("Alt", "Control", "Meta", "Shift"):  # those keys are the browser's
        page.keyboard.press(f"{modifier}+ArrowRight")
        assert page.evaluate(place) == 0, modifier
    page.keyboard.press("ArrowUp")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("Shift+ArrowDown")
    assert page.evaluate("document.activeElement.id") == "q"
    page.keyboard.press("ArrowDown")
    page.keyboard.press("Enter")
    page.wait_for_selector("#video")
    seen = set()
    for _ in range(25):
        page.keyboard.press("Tab")
        seen.add(
            page.evaluate(
                "document.activeElement.id || document.activeElement.textContent.trim().slice(0, 20)"
            )
        )
    assert {"curve", "More like this"} <= seen


def test_the_strip_appears_for_mouse_and_keyboard(visit: Callable[..., Visit]) -> None:
    page = visit("/?q=a+red+ball+falls").page
    film = page.locator("#results .film").nth(1)
    assert not film.locator(".strip").is_visible()
    film.hover()
    assert film.locator(".strip").is_visible()
    page.wait_for_function(
        "film => [...film.querySelectorAll('.strip img')].every(each => each.complete && each.naturalWidth)",
        arg=film.element_handle(),
    )
    page.keyboard.press("/")
    page.keyboard.press("ArrowDown")
    assert page.locator("#results .film .strip").first.is_visible()


def test_more_like_this_and_a_picture(visit: Callable[..., Visit], running: Running) -> None:
    page = visit("/?q=a+red+ball+falls").page
    page.get_by_role("link", name="more like this").first.click()
    page.wait_for_selector("#results .card")
    assert "like this one" in page.text_content("#heading") and page.locator(".card").count() == 7
    video = running.first("0")
    picture = running.client.get(f"/api/videos/{video['id']}/frame?time=1&height=144").content
    page.set_input_files("#file", {"name": "a.jpg", "mimeType": "image/jpeg", "buffer": picture})
    page.wait_for_function(
        "() => document.querySelector('#heading').textContent.includes('like the picture')"
    )
    assert page.locator("#results .card h3").first.text_content() == video["name"]


def test_a_server_that_has_gone_is_said(visit: Callable[..., Visit]) -> None:
    opened = visit("/?q=a+red+ball+falls")
    page = opened.page
    page.route("**/?q=*", lambda route: route.abort())
    page.fill("#q", "a boat")
    page.wait_for_selector("#trouble:not([hidden])")
    assert "does not answer" in page.text_content("#trouble")
    assert page.locator("#results .card").count() == 8
    page.unroute("**/?q=*")
    page.get_by_role("button", name="Try again").click()
    page.wait_for_function("() => document.querySelector('#heading').textContent.includes('a boat')")
    assert page.locator("#trouble").is_hidden()
    assert all("ERR_FAILED" in error for error in opened.errors)
    opened.errors.clear()


def test_the_theme_is_kept(visit: Callable[..., Visit]) -> None:
    page = visit().page
    paper = "getComputedStyle(document.body).backgroundColor"
    light = page.evaluate(paper)
    page.click("#theme")
    dark = page.evaluate(paper)
    page.reload()
    assert light != dark == page.evaluate(paper)


def test_forms_and_links_work_without_scripts(visit: Callable[..., Visit]) -> None:
    page = visit("/", java_script_enabled=False).page
    page.fill("#q", QUERY)
    page.get_by_role("button", name="Search", exact=True).click()
    assert page.locator("#results .card").count() == 8
    page.locator("#results .film").first.click()
    assert page.locator("#video").count() == 1 and page.locator(".curve polyline").count() == 1
    page.get_by_role("link", name="Library").click()
    assert "broken.mp4" in page.text_content("main")


@pytest.mark.parametrize("viewport", [WIDE, PHONE], ids=["wide", "phone"])
@pytest.mark.parametrize("color_scheme", ["light", "dark"])
def test_every_view_is_accessible_and_fits(
    visit: Callable[..., Visit], running: Running, viewport: Any, color_scheme: str
) -> None:
    opened = visit("/", viewport=viewport, color_scheme=color_scheme)
    video = running.first("0")["id"]
    for address in (
        "/",
        "/?q=a+red+ball+falls&min_duration=0.1",
        "/?q=a+boat&min_duration=9999",
        f"/video/{video}?q=a+red+ball+falls&start=0&end=2",
        "/library",
    ):
        opened.page.goto(address)
        opened.check_accessibility()
        wide = opened.page.evaluate(
            "document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        assert wide <= 0, address


def test_why_lights_up_the_regions_of_a_phrase(visit: Callable[..., Visit]) -> None:
    opened = visit("/?q=a+red+ball+falls")
    page = opened.page
    page.locator("#results .film").first.click()
    page.click("#explain")
    page.wait_for_selector("#why .frames")
    assert "has the score" in page.evaluate("document.activeElement.textContent")
    assert page.locator(".heat").count() == 12
    whole = page.locator(".heat").first.get_attribute("src")
    chips = page.locator(".chip")
    chips.nth(1).click()
    assert (
        chips.nth(1).get_attribute("aria-current") == "true"
        and chips.nth(0).get_attribute("aria-current") is None
    )
    assert page.locator(".heat").first.get_attribute("src") != whole
    page.locator(".frames").scroll_into_view_if_needed()
    page.wait_for_function(
        "() => [...document.querySelectorAll('.heat')].every(each => each.complete && each.naturalWidth > 0)"
    )
    page.locator(".frames a").nth(5).click()
    time = float(page.locator(".frames a").nth(5).get_attribute("data-start"))
    page.wait_for_function("time => Math.abs(video.currentTime - time) < 0.01", arg=time)
    opened.check_accessibility()


def test_selected_moments_are_downloaded(visit: Callable[..., Visit]) -> None:
    page = visit("/?q=a+red+ball+falls").page
    export = page.get_by_role("button", name="Export")
    assert export.is_disabled()
    for place in (0, 2):
        page.locator("#results .select input").nth(place).check()
    assert "2 moments selected" in page.text_content("#selected")
    for form in ("csv", "json", "clips", "fcpxml"):
        page.select_option("#export [name=form]", form)
        with page.expect_download() as download:
            export.click()
        content = Path(download.value.path()).read_bytes()
        if form == "csv":
            assert len(list(csv.DictReader(io.StringIO(content.decode())))) == 2
        elif form == "json":
            assert QUERY in content.decode() and json.loads(content)
        elif form == "clips":
            assert len(zipfile.ZipFile(io.BytesIO(content)).namelist()) == 2
        else:
            assert content.startswith(b"<?xml") and download.value.suggested_filename.endswith(".fcpxml")
    page.get_by_role("button", name="Clear", exact=True).click()
    page.wait_for_function("() => document.querySelector('#export button').disabled")
    assert page.locator(".card.chosen").count() == 0 and page.locator(":checked[name=selection]").count() == 0


def chosen(page: Any) -> list[str]:
    """Values of the boxes that are ticked."""
    return list(
        page.evaluate("[...document.querySelectorAll('[name=selection]:checked')].map((box) => box.value)")
    )


def exported(page: Any) -> list[tuple[str, str]]:
    """Name and start of each moment in an export."""
    page.select_option("#export [name=form]", "csv")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    rows = csv.DictReader(io.StringIO(Path(download.value.path()).read_text()))
    return [(Path(row["path"]).name, f"{float(row['start']):.2f}") for row in rows]


def moment_of(card: Any) -> tuple[str, str]:
    """The same of a card."""
    # As it is selected: the page shows fewer digits, which are rounded once more.
    _, start, _ = card.locator(".select input").get_attribute("value").split(",")
    return card.locator("h3").text_content(), f"{float(start):.2f}"


def test_a_selection_outlives_searches_until_it_is_cleared(
    visit: Callable[..., Visit], running: Running
) -> None:
    opened = visit("/?q=a+red+ball+falls")
    page = opened.page
    cards = page.locator("#results .card")
    wanted = [moment_of(cards.nth(2)), moment_of(cards.nth(0))]
    for place in (2, 0):  # by the keyboard
        cards.nth(place).locator(".select input").focus()
        page.keyboard.press("Space")
    before = chosen(page)
    assert page.text_content("#selected") == "2 moments selected"

    folder = next(each["id"] for each in running.get("/api/folders")["folders"] if each["name"] == "more")
    page.goto(f"/?q=a+blue+boat&folder={folder}")
    assert cards.count() == 2
    # Which of the two was selected already depends on their order.
    fresh = next(card for card in cards.all() if not card.locator(".select input").is_checked())
    wanted.append(moment_of(fresh))
    fresh.locator(".select input").check()
    ask(page, "a green box grows")
    page.wait_for_function("() => document.querySelector('#selected').textContent.includes('3 moments')")
    assert "from other searches" in page.text_content("#selected")
    assert sorted(exported(page)) == sorted(wanted)
    opened.check_accessibility()

    page.goto("/?q=a+boat&min_duration=9999")  # no hit to select
    assert page.locator("#export").is_visible() and "3 moments selected" in page.text_content("#selected")
    assert sorted(exported(page)) == sorted(wanted)
    page.goto("/?q=a+red+ball+falls")
    assert set(before) <= set(chosen(page))
    cards.nth(2).locator(".select input").uncheck()
    assert sorted(exported(page)) == sorted(wanted[1:])

    page.locator("#results .film").first.click()  # this page exports its own moment alone
    page.wait_for_selector("#video")
    page.select_option("form.export [name=form]", "csv")
    with page.expect_download() as download:
        page.get_by_role("button", name="Export").click()
    assert len(list(csv.DictReader(io.StringIO(Path(download.value.path()).read_text())))) == 1
    page.keyboard.press("Escape")
    page.wait_for_selector("#results .card")

    clear = page.get_by_role("button", name="Clear", exact=True)
    clear.focus()
    page.keyboard.press("Enter")
    page.wait_for_function("() => document.querySelector('#selected').textContent.startsWith('Select')")
    assert page.evaluate("document.activeElement.name") == "form"  # the focus is not lost with the button
    assert not clear.is_visible() and chosen(page) == []
    page.reload()
    assert chosen(page) == [] and page.get_by_role("button", name="Export").is_disabled()


TRANSFER = """({bytes, name, type}) => {
    const transfer = new DataTransfer();
    transfer.items.add(new File([new Uint8Array(bytes)], name, {type}));
    return transfer;
}"""


def transfer_of(page: Any, name: str, kind: str, content: bytes) -> Any:
    """Files as the browser hands them over when they are dropped or pasted."""
    return page.evaluate_handle(TRANSFER, {"bytes": list(content), "name": name, "type": kind})


def drop(page: Any, transfer: Any) -> None:
    for event in ("dragover", "drop"):
        page.dispatch_event("main", event, {"dataTransfer": transfer})


def test_a_picture_is_dropped_or_pasted(visit: Callable[..., Visit], running: Running) -> None:
    page = visit("/?q=a+red+ball+falls").page
    like_picture = "() => document.querySelector('#heading').textContent.includes('like the picture')"
    for place, way in (("0", "drop"), ("1", "paste")):
        video = running.first(place)
        content = running.client.get(f"/api/videos/{video['id']}/frame?time=1&height=144").content
        transfer = transfer_of(page, "a.jpg", "image/jpeg", content)
        if way == "drop":
            page.dispatch_event("main", "dragover", {"dataTransfer": transfer})
            assert page.evaluate("document.body.classList.contains('dropping')")
            page.dispatch_event("main", "drop", {"dataTransfer": transfer})
            assert not page.evaluate("document.body.classList.contains('dropping')")
        else:
            page.evaluate(
                "data => document.querySelector('#q').dispatchEvent(new ClipboardEvent('paste', "
                "{clipboardData: data, bubbles: true, cancelable: true}))",
                transfer,
            )
        page.wait_for_function(like_picture)
        assert page.locator("#results .card h3").first.text_content() == video["name"]
        assert page.input_value("#q") == ""
        ask(page, "a blue boat")


def test_a_file_that_is_no_picture_is_dropped(visit: Callable[..., Visit], running: Running) -> None:
    opened = visit("/?q=a+red+ball+falls")
    page = opened.page
    film = next(running.videos.rglob("*0*.mp4")).read_bytes()
    drop(page, transfer_of(page, "film.mp4", "video/mp4", film))
    page.wait_for_selector("#trouble:not([hidden])")
    assert "That is no picture" in page.text_content("#trouble")
    assert page.url.endswith("/?q=a+red+ball+falls") and page.locator("#results .card").count() == 8
    # One that says it is a picture, and is none.
    drop(page, transfer_of(page, "a.jpg", "image/jpeg", b"no picture"))
    page.wait_for_function("() => !document.querySelector('#trouble').textContent.includes('That is')")
    assert "picture" in page.text_content("#trouble") and page.locator("#results .card").count() == 8
    opened.errors.clear()  # the browser logs the status 400
    ask(page, "a blue boat")
    assert page.locator("#trouble").is_hidden()


def test_what_fits_is_told_above_the_hits(visit: Callable[..., Visit], running: Running) -> None:
    levels = {}
    shown = "a dotted black plus sign pops up and then a purple crown drops"
    for query in (shown, QUERY, "a ball", "a cat", "a boat", "two houses", "tax law", "a star spins"):
        told = running.get("/api/search", params={"q": query})["confidence"]
        levels.setdefault(told["level"], (query, told["statement"]))
    assert "none" in levels and levels["good"][0] == shown, levels
    assert "Nothing in this library fits well" in levels["none"][1]
    opened = visit()
    page = opened.page
    for level, (query, statement) in levels.items():
        ask(page, query)
        line = page.locator("#results .confidence")
        assert line.text_content() == statement
        assert level in line.get_attribute("class").split()
        assert (page.locator(".cards.dimmed").count() == 1) == (level == "none")
        assert page.locator("#results .card").count() == 8
        opened.check_accessibility()


@pytest.fixture
def own(
    serve: Callable[..., Any], tmp_path: Path, toybox_folder: Path, toybox_model: ProST
) -> Iterator[Running]:
    """A server of a test's own: an empty library, and a folder that may be indexed."""
    folder = tmp_path / "new films"
    folder.mkdir()
    for path in sorted(toybox_folder.glob("*.mp4"))[:3]:
        shutil.copy2(path, folder)
    (folder / "<b>broken.mp4").write_text("this is a text")
    Library(tmp_path / "new.prost", toybox_model)
    with serve(tmp_path / "new.prost", roots=(folder,), model="toybox") as running:
        yield running


def test_a_folder_is_indexed_with_progress(visit: Callable[..., Visit], own: Running) -> None:
    opened = visit(base=f"http://127.0.0.1:{own.port}")
    page = opened.page
    assert "No videos yet" in page.text_content("#results")
    opened.check_accessibility()
    page.click("text=Go to the library")
    page.get_by_role("button", name="Index new films").click()
    page.wait_for_selector(".job progress")
    page.wait_for_selector(".job.done", timeout=60_000)
    assert "3 added" in page.text_content(".job") and "ended" in page.text_content("#announcement")
    assert "<b>broken.mp4" in page.text_content("main") and page.locator("main b").count() == 0
    opened.check_accessibility()
    page.goto("/?q=a+red+ball+falls")
    assert page.locator("#results .card").count() == 3


def test_a_job_is_cancelled(
    visit: Callable[..., Visit], serve: Callable[..., Any], tmp_path: Path, films: Path
) -> None:
    folder = tmp_path / "many films"
    folder.mkdir()
    for place in range(16):  # each its own content, so that none is known by another
        source = sorted(films.glob("toy*.mp4"))[place % 3]
        (folder / f"{place}.mp4").write_bytes(source.read_bytes() + bytes([place]))
    with serve(roots=(folder,), model="toybox") as own:
        before = own.get("/api/status")["counts"]["videos"]
        opened = visit(base=f"http://127.0.0.1:{own.port}")
        page = opened.page
        page.goto("/library")
        page.get_by_role("button", name="Index many films").click()
        page.wait_for_selector(".job progress")
        cancel = page.get_by_role("button", name="Cancel")
        cancel.focus()
        page.keyboard.press("Enter")
        page.wait_for_selector(".job.cancelled", timeout=60_000)
        assert page.locator(".job progress").count() == 0 and cancel.count() == 0
        opened.check_accessibility()
        (job,) = own.get("/api/jobs")["jobs"]
        assert job["state"] == "cancelled" and job["done"] < 16
        # What was indexed is whole, and the rest can be indexed after it.
        page.get_by_role("button", name="Index many films").click()
        page.wait_for_selector(".job.done", timeout=120_000)
        assert own.get("/api/status")["counts"]["videos"] == before + 16


def test_one_job_is_followed_at_a_time(
    visit: Callable[..., Visit], serve: Callable[..., Any], tmp_path: Path
) -> None:
    roots = tuple(tmp_path / name for name in ("a", "b", "c"))
    for root in roots:
        root.mkdir()
    with serve(roots=roots, model="toybox") as own:
        page = visit(base=f"http://127.0.0.1:{own.port}").page
        folders = {folder["name"]: folder["id"] for folder in own.get("/api/folders")["folders"]}
        jobs = [
            own.client.post("/api/jobs", json={"folder": folders[root.name]}).json()["id"] for root in roots
        ]
        followed: list[str] = []

        def note(request: Any) -> None:
            if request.url.endswith("/events"):
                followed.append(request.url.split("/")[-2])

        page.on("request", note)
        page.goto("/library")
        page.wait_for_timeout(300)
        assert followed == jobs[:1]
        own.client.delete(f"/api/jobs/{jobs[0]}")
        page.wait_for_selector(f".job.cancelled[data-job='{jobs[0]}']")
        page.wait_for_timeout(300)
        assert followed == jobs[:2]
        for job in reversed(jobs[1:]):
            own.client.delete(f"/api/jobs/{job}")
        page.wait_for_function("() => !document.querySelector('.job progress')")


def test_a_codec_that_the_browser_does_not_play_has_a_preview(
    visit: Callable[..., Visit], serve: Callable[..., Any], tmp_path: Path, toybox_model: ProST
) -> None:
    film = tmp_path / "films" / "hevc.mp4"
    film.parent.mkdir()
    write_hevc(film)
    Library(tmp_path / "hevc.prost", toybox_model).add(film, workers=1)
    with serve(tmp_path / "hevc.prost", roots=()) as own:
        video = own.first("hevc")
        assert video["codec"] == "hevc" and not video["playable"]
        page = visit(f"/video/{video['id']}?q=a+ball&start=2&end=4", f"http://127.0.0.1:{own.port}").page
        assert page.locator("#shortened").is_visible()
        page.wait_for_function("() => video.readyState >= 2", timeout=60_000)
        assert "/preview?" in page.evaluate("video.currentSrc")
        # The preview begins where the moment does, and so does the slider.
        assert page.get_attribute("#curve", "aria-valuenow") == "2.0"
        page.locator("#curve").focus()
        page.keyboard.press("Home")
        page.wait_for_function("() => video.currentSrc.includes('start=0.000') && video.readyState >= 2")
        assert page.get_attribute("#curve", "aria-valuenow") == "0.0"


def test_a_player_that_fails_falls_back_to_the_preview(visit: Callable[..., Visit], running: Running) -> None:
    opened = visit()
    page = opened.page
    page.route("**/media*", lambda route: route.fulfill(body=b"no film", content_type="video/mp4"))
    page.goto(f"/video/{running.first('0')['id']}?q=a+ball&start=1&end=3")
    page.wait_for_function("() => video.currentSrc.includes('/preview?') && video.readyState >= 2")
    assert page.locator("#shortened").is_visible() and page.get_attribute("#curve", "aria-valuenow") == "1.0"


def test_a_preview_is_asked_for_when_its_place_is_chosen(
    visit: Callable[..., Visit], running: Running
) -> None:
    page = visit().page
    asked: list[float] = []  # starts of previews

    def note(request: Any) -> None:
        address = urlsplit(request.url)
        if address.path.endswith("/preview"):
            asked.append(float(parse_qs(address.query)["start"][0]))

    page.on("request", note)
    page.route("**/media*", lambda route: route.fulfill(body=b"no film", content_type="video/mp4"))
    video = running.first("0")
    page.goto(f"/video/{video['id']}?q=a+ball&start=0&end=0.5")
    page.wait_for_function("() => video.currentSrc.includes('/preview?') && video.readyState >= 2")
    asked.clear()
    box = page.locator("#curve").bounding_box()
    x, y = box["x"], box["y"] + box["height"] / 2
    page.mouse.move(x + 0.5 * box["width"], y)
    page.mouse.down()
    page.mouse.move(x + 0.75 * box["width"], y, steps=8)
    place = 0.75 * video["duration"]
    assert float(page.get_attribute("#curve", "aria-valuenow")) == pytest.approx(place, abs=0.1)
    page.wait_for_timeout(400)
    assert asked == []
    page.mouse.up()
    page.wait_for_function("() => !video.currentSrc.includes('start=0.000') && video.readyState >= 2")
    assert len(set(asked)) == 1 and asked[0] == pytest.approx(place, abs=0.1)

    asked.clear()
    # All in one call, so that no pause comes between the keys.
    places = page.evaluate(
        """() => ["ArrowLeft", "ArrowLeft", "Home"].map((key) => {
            curve.dispatchEvent(new KeyboardEvent("keydown", {key, bubbles: true}));
            return Number(curve.getAttribute("aria-valuenow"));
        })"""
    )
    assert places == pytest.approx([place - 1, place - 2, 0], abs=0.1)
    page.wait_for_function("() => video.currentSrc.includes('start=0.000') && video.readyState >= 2")
    assert set(asked) == {0}


def test_the_token_is_asked_for_once(visit: Callable[..., Visit], serve: Callable[..., Any]) -> None:
    token = "a-token-of-more-than-thirty-two-characters"
    with serve(token=token) as own:
        opened = visit(base=f"http://127.0.0.1:{own.port}")
        page = opened.page
        opened.check_accessibility()
        page.fill("[name=token]", "wrong")
        page.get_by_role("button", name="Sign in").click()
        assert "not the token" in page.text_content("main")
        opened.errors.clear()  # the browser logs the status 401
        page.fill("[name=token]", token)
        page.keyboard.press("Enter")
        page.wait_for_selector("#results .card")


def write_hevc(path: Path) -> None:
    """Six seconds of a ball that rolls, as HEVC."""
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx265", rate=10, options={"x265-params": "log-level=none"})
        stream.width, stream.height, stream.pix_fmt = 160, 120, "yuv420p"
        for frame in range(60):
            picture = np.full((120, 160, 3), (210, 225, 240), dtype=np.uint8)
            picture[50:80, 2 * frame : 2 * frame + 30] = (200, 30, 30)
            container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
        container.mux(stream.encode())
