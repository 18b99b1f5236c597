"""The one renderer of all pages: those that `prost serve` sends and those that are written as single files.

Every value is made printable and escaped, unless a template marks it as HTML or a filter below has done it.
"""

from __future__ import annotations

import math
from functools import cache
from pathlib import Path
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup, escape

from prost.page.heat import CAVEAT
from prost.printable import counted, printable


def render(template: str, **values: object) -> str:
    """Fill in a template.

    Args:
        template: name of a file of the folder of templates.
        values: what it needs; a name that is missing is an error.
    """
    return _environment().get_template(template).render(**values)


def static_folder() -> Path:
    """The folder of styles, scripts and pictures."""
    return Path(__file__).parent / "static"


def static_text(name: str) -> Markup:
    """A style or script, to be written into a page that needs no other file."""
    return Markup((static_folder() / name).read_text(encoding="utf-8"))


def clock(seconds: float) -> str:
    """A time as players show it, with a tenth of a second.

    >>> clock(4.26), clock(75), clock(3725.5)
    ('0:04.3', '1:15.0', '1:02:05.5')
    """
    tenths = round(10 * max(0.0, seconds))
    whole, tenth = divmod(tenths, 10)
    minutes, second = divmod(whole, 60)
    hours, minute = divmod(minutes, 60)
    start = f"{hours}:{minute:02d}" if hours else f"{minute}"
    return f"{start}:{second:02d}.{tenth}"


def length(seconds: float) -> str:
    """A duration in words that fit into a line.

    >>> length(4.2), length(75), length(3725), length(90000)
    ('4 s', '1 min 15 s', '1 h 2 min', '25 h')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    minutes, second = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {second} s" if second else f"{minutes} min"
    hours, minute = divmod(minutes, 60)
    return f"{hours} h {minute} min" if minute else f"{hours} h"


def as_typed(text: str) -> Markup:
    """A text that goes back into a field: escaped, but otherwise as the user typed it."""
    return escape("".join("\ufffd" if "\ud800" <= each <= "\udfff" else each for each in text))


def percent(value: float, whole: float) -> str:
    """A fraction as a number between 0 and 100 for coordinates of a drawing.

    >>> percent(1, 4), percent(5, 4), percent(1, 0)
    ('25.00', '100.00', '0.00')
    """
    fraction = value / whole if whole > 0 and math.isfinite(value) else 0.0
    return f"{100 * min(max(fraction, 0.0), 1.0):.2f}"


@cache
def _environment() -> Environment:
    environment = Environment(
        loader=PackageLoader("prost.page"),
        autoescape=True,
        finalize=_shown,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= {
        "as_typed": as_typed,
        "clock": clock,
        "count": counted,
        "length": length,
        "percent": percent,
        "printable": printable,
    }
    environment.globals |= {"heat_caveat": CAVEAT, "static_text": static_text}
    return environment


def _shown(value: Any) -> Any:
    """What an expression of a template becomes, before it is escaped."""
    return printable(value) if isinstance(value, str) and not isinstance(value, Markup) else value
