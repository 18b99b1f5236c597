"""Write the pictures of the page into docs/images: `.venv/bin/python docs/write_screenshots.py [FOLDER]`.

Draws videos into the folder, or into a temporary one, indexes and serves them, and takes pictures in Chromium.
"""

from __future__ import annotations

import sys
import tempfile
import threading
from pathlib import Path
from typing import Any

from PIL import Image
from playwright.sync_api import sync_playwright

import prost
from prost.apps.cli.demo import questions
from prost.apps.server.app import create_app
from prost.apps.server.running import Server, bound_socket
from prost.apps.server.settings import ServerSettings
from prost.data.toybox import read_captions, write

IMAGES = Path(__file__).parent / "images"
# A library of few clips has no confidence.
VIDEOS = 60
CHROMIUM = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
]
UNKNOWN = "a man plays the violin in the rain"
# Colours of the pictures that are kept; a page of few colours shows no difference.
COLOURS = 256


def main(folder: Path) -> None:
    """Write all pictures."""
    videos = folder / "videos"
    if not (videos / "captions.jsonl").exists():
        write(videos, videos=VIDEOS, seed=0)
    with prost.Library(folder / "library.prost", prost.load("toybox")) as library:
        library.add(videos)
        library.optimize()
        (sentence, _), *_, (event, _) = questions(videos, read_captions(videos))
        settings = ServerSettings(videos=(videos,), cache=folder / "cache")
        listening = bound_socket("127.0.0.1", 0)
        started = threading.Event()
        server = Server(create_app(library, settings), settings, on_start=started.set)
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        started.wait()
        try:
            _take(f"http://127.0.0.1:{listening.getsockname()[1]}", sentence, event)
        finally:
            server.should_exit = True
            thread.join()


def _take(base: str, sentence: str, event: str) -> None:
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path="/usr/bin/chromium", args=CHROMIUM)

        def opened(width: int, height: int, scheme: str, query: str) -> Any:
            page = browser.new_context(
                base_url=base, viewport={"width": width, "height": height}, color_scheme=scheme
            ).new_page()
            page.goto("/")
            page.fill("#q", query)
            page.wait_for_function(
                "query => document.querySelector('#heading').textContent.includes(query)", arg=query
            )
            page.evaluate("document.activeElement.blur()")
            return page

        page = opened(1280, 900, "light", sentence)
        page.locator("#results .film").nth(1).hover()
        _picture(page, "page.png")
        _picture(opened(1280, 900, "dark", sentence), "page-dark.png")
        _picture(opened(390, 844, "light", sentence), "page-phone.png")
        _picture(opened(1280, 560, "light", UNKNOWN), "page-nothing-fits.png")
        page = opened(1280, 1100, "light", event)
        page.locator("#results .film").first.click()
        page.click("#explain")
        page.wait_for_selector("#why .frames")
        page.locator(".chip").nth(1).click()
        page.wait_for_timeout(500)
        page.evaluate("document.querySelector('#why').scrollIntoView()")
        _picture(page, "page-why.png")
        browser.close()


def _picture(page: Any, name: str) -> None:
    """Write what a page shows, once all of its pictures are there."""
    page.wait_for_function(
        "() => [...document.images].every(each => each.complete || !each.offsetParent || "
        "each.getBoundingClientRect().top > innerHeight)"
    )
    page.wait_for_timeout(800)
    page.screenshot(path=IMAGES / name)
    with Image.open(IMAGES / name) as taken:
        taken.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(IMAGES / name, optimize=True)


if __name__ == "__main__":
    if len(sys.argv) > 1:
        main(Path(sys.argv[1]))
    else:
        with tempfile.TemporaryDirectory() as temporary:
            main(Path(temporary))
