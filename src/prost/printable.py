"""Text that a terminal, a log or a page can show without being changed by it."""

from __future__ import annotations

import unicodedata

# Control characters, lone surrogates, and separators of lines and paragraphs.
HARMFUL = frozenset(("Cc", "Cs", "Zl", "Zp"))
# Format characters are invisible, and some turn the direction of what follows.
FORMAT = "Cf"
# These two join or part letters; Persian words and many emoji need them.
JOINERS = frozenset("\u200c\u200d")
SHORT = {"\n": r"\n", "\r": r"\r", "\t": r"\t"}


def printable(text: str) -> str:
    r"""Show control characters, invisible format characters and undecodable bytes as escapes.

    All else stays, spaces included. Applying it twice changes nothing more.

    >>> print(printable("a\x1b[2Jb\nerror: c"))
    a\x1b[2Jb\nerror: c
    >>> print(printable("caf\udce9  \u202etxt.mp4"))
    caf\xe9  \u202etxt.mp4
    """
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escaped(character) for character in text)


def first_line(error: BaseException) -> str:
    """The first line of an error of another library, or the error's type where it says nothing.

    >>> first_line(ValueError("no such key\\nin the file")), first_line(EOFError())
    ('no such key', 'EOFError')
    """
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def counted(number: int, one: str, many: str | None = None) -> str:
    """A number with its noun.

    >>> counted(1, "video"), counted(12345, "video"), counted(2, "library", "libraries")
    ('1 video', '12,345 videos', '2 libraries')
    """
    return f"{number:,} {one if number == 1 else many or one + 's'}"


def format_bytes(nbytes: int) -> str:
    """Bytes in the unit that people read.

    >>> format_bytes(1_520_000_000), format_bytes(604_700_000), format_bytes(12_345), format_bytes(7)
    ('1.5 GB', '605 MB', '12 kB', '7 B')
    """
    for unit, size in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6), ("kB", 1e3)):
        if nbytes >= size:
            number = nbytes / size
            return f"{number:.1f} {unit}" if number < 9.95 else f"{number:.0f} {unit}"
    return f"{nbytes} B"


def _escaped(character: str) -> str:
    kind = unicodedata.category(character)
    if kind not in HARMFUL and (kind != FORMAT or character in JOINERS):
        return character
    code = ord(character)
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file name that is not UTF-8
        return f"\\x{code - 0xDC00:02x}"
    if code < 0x80:
        return SHORT.get(character, f"\\x{code:02x}")
    return f"\\u{code:04x}" if code < 0x10000 else f"\\U{code:08x}"


def is_utf8(text: str) -> bool:
    r"""Whether a text can be written as UTF-8: not if it came from bytes that were not UTF-8.

    >>> is_utf8("caf\u00e9"), is_utf8("caf\udce9")
    (True, False)
    """
    return not any("\ud800" <= character <= "\udfff" for character in text)
