"""What a server is told when it starts, and its limits."""

from __future__ import annotations

import ipaddress
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from prost.errors import UsageError
from prost.search.encode import PrototypeModel

SHORTEST_TOKEN = 32


@dataclass(frozen=True, kw_only=True)
class Limits:
    """What one server gives away at most.

    Attributes:
        body_bytes: of a request other than a picture.
        picture_bytes: of a picture to search with.
        requests: answered at a time.
        rate: requests a second of one client, on average.
        burst: requests of one client at once.
        log_ins: attempts to log in of one client in a minute.
        header_seconds: until the head of a request must be there.
        body_seconds: until the next part of a body must be there; and until all of it must be, but for the time that
            its bytes may take at `body_rate`.
        body_rate: bytes a second, at least, of a body that takes longer than `body_seconds`.
        send_seconds: until a client must have taken the next part of an answer.
        searches: waiting at a time; those by a video are counted apart.
        pictures: waiting at a time.
        slow: previews, exports and evidence waiting at a time.
        jobs: waiting at a time.
        streams: streams of events at a time.
        cache_bytes: of pictures and previews on the disk.
    """

    body_bytes: int = 1 << 20
    picture_bytes: int = 32 << 20
    requests: int = 512
    rate: float = 100.0
    burst: int = 600
    log_ins: int = 10
    header_seconds: float = 15.0
    body_seconds: float = 30.0
    body_rate: float = 16 << 10
    send_seconds: float = 120.0
    searches: int = 128
    pictures: int = 512
    slow: int = 16
    jobs: int = 16
    streams: int = 64
    cache_bytes: int = 1 << 30


@dataclass(frozen=True, kw_only=True)
class ServerSettings:
    """How a library is served.

    Attributes:
        host: address to listen on.
        port: likewise.
        token: what clients must show; None asks for none, on the loopback interface only.
        videos: folders that may be indexed, with all that is below them.
        model: name or path of the model, for indexing; None for the one that is noted beside the library.
        device: where the model runs.
        load_model: loads the model that a library was made by, given the library's path; called when another library
            has taken the place of the one that is served. None: such a library is not served.
        cache: folder of pictures and previews; None for the user's cache.
        limits: see `Limits`.

    Raises:
        UsageError: a host that is not loopback without a token, or a token that is too short.
    """

    host: str = "127.0.0.1"
    port: int = 8765
    token: str | None = None
    videos: tuple[Path, ...] = ()
    model: str | None = None
    device: str = "auto"
    load_model: Callable[[str], PrototypeModel] | None = None
    cache: Path | None = None
    limits: Limits = Limits()

    def __post_init__(self) -> None:
        if self.token is None and not is_loopback(self.host):
            raise UsageError(
                f"serving on {self.host} without a token",
                f"a token of {SHORTEST_TOKEN} characters or more, since other machines can reach that address",
                "PROST_TOKEN=\"$(python3 -c 'import secrets; print(secrets.token_urlsafe(32))')\"",
            )
        if self.token is not None and (len(self.token) < SHORTEST_TOKEN or not self.token.isascii()):
            raise UsageError(
                f"a token of {len(self.token)} characters", f"{SHORTEST_TOKEN} ASCII characters or more"
            )


def is_loopback(host: str) -> bool:
    """Whether only this machine can reach an address.

    >>> is_loopback("127.0.0.1"), is_loopback("localhost"), is_loopback("::1"), is_loopback("0.0.0.0")
    (True, True, True, False)
    """
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
