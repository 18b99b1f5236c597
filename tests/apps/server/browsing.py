"""Chromium for the tests of the page. Whatever a test does, the page asks for nothing elsewhere and logs no error."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

CHROMIUM = "/usr/bin/chromium"
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 360, "height": 740}


@contextmanager
def chromium() -> Iterator[Any]:
    """Debian's Chromium, without a window."""
    if not Path(CHROMIUM).exists() and "CI" not in os.environ:
        pytest.skip(f"{CHROMIUM} is not here (`make browser` installs it)")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        try:
            yield browser
        finally:
            browser.close()


class Visit:
    """A page in a browser, and what it logged and asked for.

    Args:
        browser: of `chromium`.
        base: address of the server.
        choices: of the context, such as `viewport`, `color_scheme` and `java_script_enabled`.
    """

    def __init__(self, browser: Any, base: str, **choices: Any) -> None:
        self.base = base
        self.errors: list[str] = []
        self.elsewhere: list[str] = []
        self.context = browser.new_context(base_url=base, **{"viewport": WIDE, **choices})
        self.page = self.context.new_page()
        self.page.set_default_timeout(20_000)
        self.page.on("console", self._note)
        self.page.on("pageerror", lambda error: self.errors.append(str(error)))
        self.page.on("request", self._look)

    def check(self) -> None:
        """Fail if the page logged an error or asked for something elsewhere."""
        assert self.elsewhere == []
        assert self.errors == []

    def check_accessibility(self) -> None:
        """Fail if axe finds something that a person would miss."""
        from axe_playwright_python.sync_playwright import Axe

        found = Axe().run(self.page)
        assert found.violations_count == 0, found.generate_report()

    def close(self) -> None:
        self.context.close()

    def _note(self, message: Any) -> None:
        if message.type in ("error", "warning"):
            self.errors.append(f"{message.text} {message.location}")

    def _look(self, request: Any) -> None:
        parts = urlsplit(request.url)
        if parts.scheme not in ("data", "blob") and f"{parts.scheme}://{parts.netloc}" != self.base:
            self.elsewhere.append(request.url)
