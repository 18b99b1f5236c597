"""Objects on an object store: written whole, and only if nobody else wrote them meanwhile; listed, and read.

Lance reads and writes the tables of a library. Everything else that it holds goes through here: its description, the
writer's lease, the packs. So do videos that lie on an object store. The package obstore (extra `s3`) has the
conditional writes that a lease needs.

Credentials, region and endpoint come from `storage_options`, or from where AWS tools look: the variables `AWS_*`, then
the profile in `~/.aws`, then the machine's own role.
"""

from __future__ import annotations

import configparser
import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prost.errors import ProstError, StorageError, UsageError, install_extra
from prost.printable import first_line

if TYPE_CHECKING:
    from obstore import UpdateVersion

# What an object store says, in the texts of obstore and of Lance.
CREDENTIALS = "set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE"
OBJECT_STORE_REFUSALS = (
    (r"NoSuchBucket", "there is no such bucket", "check the name of the bucket and AWS_ENDPOINT_URL"),
    (
        r"169\.254\.|Missing(?: |)(?:SecretAccessKey|AccessKeyId)|credentials? (?:provider )?(?:was|were|is|are)? ?not "
        r"(?:loaded|enabled|found)|no providers in chain|CredentialsNotLoaded",
        "no credentials for the object store",
        CREDENTIALS,
    ),
    (
        r"InvalidAccessKeyId|SignatureDoesNotMatch|InvalidToken|ExpiredToken|401 Unauthorized",
        "the object store does not accept the credentials",
        CREDENTIALS,
    ),
    (
        r"PermanentRedirect|AuthorizationHeaderMalformed",
        "the bucket lies in another region",
        "set AWS_REGION to the bucket's region",
    ),
    (
        r"AccessDenied|403 Forbidden",
        "the object store gives no permission",
        "check what the credentials may do with this bucket",
    ),
    (
        r"SlowDown|ServiceUnavailable|InternalError|TooManyRequests|429 Too Many Requests|500 Internal Server Error|"
        r"502 Bad Gateway|503 Service Unavailable|504 Gateway Timeout",
        "the object store is overloaded",
        "try again in a moment",
    ),
    (
        r"error sending request|dns error|[Cc]onnection refused|timed out|error trying to connect",
        "the object store cannot be reached",
        "check the network and the address (AWS_ENDPOINT_URL)",
    ),
)

SCHEME = re.compile(r"[a-z][a-z0-9+.-]*://", re.IGNORECASE)
# Variables that name the address of a store.
ENDPOINTS = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")

CLOCK = "writer.clock"
# End of the names of files that are being downloaded.
TEMPORARY = ".new"
RETRIES: Any = {"max_retries": 4, "retry_timeout": timedelta(seconds=30)}
CLIENT: dict[str, Any] = {"connect_timeout": "5s", "timeout": "60s"}
# Settings of the connection, which obstore takes apart from those of the store.
CLIENT_KEYS = {
    "allow_http",
    "allow_invalid_certificates",
    "connect_timeout",
    "http1_only",
    "http2_only",
    "pool_idle_timeout",
    "pool_max_idle_per_host",
    "proxy_ca_certificate",
    "proxy_excludes",
    "proxy_url",
    "timeout",
    "user_agent",
}
# Settings that only Lance knows.
LANCE_KEYS = {"client_max_retries", "client_retry_timeout", "download_retry_count"}
# Where a profile of AWS tools holds what a store needs, by the names of obstore.
PROFILE_KEYS = {
    "aws_access_key_id": "aws_access_key_id",
    "aws_secret_access_key": "aws_secret_access_key",
    "aws_session_token": "aws_session_token",
    "region": "aws_region",
    "endpoint_url": "aws_endpoint",
}


def is_remote(path: str) -> bool:
    """Whether the absolute path of a library or a video is an address on an object store.

    >>> is_remote("s3://films/holiday.prost"), is_remote("/films/a://b.prost")
    (True, False)
    """
    return SCHEME.match(path) is not None


@dataclass(frozen=True, kw_only=True)
class StoredObject:
    """An object as it was read.

    Attributes:
        data: its bytes.
        version: names this state of the object for `ObjectStore.replace`.
        modified: when it was written, by the store's clock.
    """

    data: bytes
    version: UpdateVersion
    modified: datetime


@dataclass(frozen=True, kw_only=True)
class SeenObject:
    """An object as the store shows it.

    Attributes:
        name: below the root of the store.
        size: bytes.
        modified: when it was written, by the store's clock, to the second.
    """

    name: str
    size: int
    modified: datetime

    @classmethod
    def of(cls, found: Mapping[str, Any]) -> SeenObject:
        """Of what obstore tells. Some stores tell parts of seconds in lists only."""
        return cls(
            name=found["path"], size=found["size"], modified=found["last_modified"].replace(microsecond=0)
        )


class ObjectStore:
    """The objects below a URI.

    Args:
        root: the URI, such as `s3://bucket/holiday.prost`.
        storage_options: as Lance takes them; what is missing comes from the environment.

    Raises:
        UsageError: obstore is not installed, or it does not know an option.
        StorageError: the credentials are incomplete.
    """

    def __init__(self, root: str, storage_options: Mapping[str, str] | None = None) -> None:
        try:
            from obstore.exceptions import UnknownConfigurationKeyError
            from obstore.store import from_url
        except ImportError:
            raise UsageError(
                f"{root}: an object store needs the package obstore",
                suggestion=install_extra("s3"),
            ) from None
        self.root = root
        config, client = _settings(root, storage_options or {})
        with self._errors():
            try:
                self._store: Any = from_url(
                    root,
                    config=config,
                    client_options=client,
                    retry_config=RETRIES,
                )
            except UnknownConfigurationKeyError as error:
                raise UsageError(f"storage_options: {first_line(error)[:200].rstrip(' .,')}") from None

    def read(self, name: str) -> StoredObject | None:
        """An object; None where there is none.

        Raises:
            StorageError: the store refuses.
        """
        try:
            with self._errors():
                found = self._store.get(name)
                return StoredObject(
                    data=bytes(found.bytes()),
                    version=_version(found.meta),
                    modified=found.meta["last_modified"],
                )
        except FileNotFoundError:
            return None

    def write(self, name: str, data: bytes) -> None:
        """Write an object, whatever was there.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            self._store.put(name, data)

    def create(self, name: str, data: bytes) -> UpdateVersion | None:
        """Write an object unless it is there already; its version, or None where it was there.

        Raises:
            StorageError: the store refuses.
        """
        from obstore.exceptions import AlreadyExistsError

        with self._errors():
            try:
                return _version(self._store.put(name, data, mode="create"))
            except AlreadyExistsError:
                return None

    def replace(self, name: str, data: bytes, version: UpdateVersion | None) -> UpdateVersion | None:
        """Write an object if nobody wrote it since it was read; its new version, or None where somebody did.

        Args:
            name: of the object.
            data: its new content.
            version: as it was read; None where it was not there.

        Raises:
            StorageError: the store refuses.
        """
        if version is None:
            return self.create(name, data)
        from obstore.exceptions import PreconditionError

        try:
            with self._errors():
                try:
                    return _version(self._store.put(name, data, mode=version))
                except PreconditionError:
                    return None
        except FileNotFoundError:
            return None

    def now(self) -> datetime:
        """The time by the store's clock, to the second: that of an object written now.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            self._store.put(CLOCK, b"")
            return self._store.head(CLOCK)["last_modified"]

    def download(self, name: str, path: Path) -> None:
        """Copy an object into a file, which appears when it is whole.

        Raises:
            FileNotFoundError: there is no such object.
            StorageError: the store or the disk refuses.
        """
        temporary = path.with_name(f"{path.name}.{uuid4().hex}{TEMPORARY}")
        try:
            with self._errors():
                found = self._store.get(name)
                with temporary.open("wb") as file:
                    for piece in found.stream():
                        file.write(piece)
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)

    def upload(self, path: Path, name: str) -> None:
        """Copy a file into an object.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            self._store.put(name, path)

    def look(self, name: str) -> SeenObject | None:
        """What the store tells of an object; None where there is none.

        Raises:
            StorageError: the store refuses.
        """
        try:
            with self._errors():
                return SeenObject.of(self._store.head(name))
        except FileNotFoundError:
            return None

    def below(self, folder: str = "") -> Iterator[SeenObject]:
        """All objects below a folder.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            for page in self._store.list(folder or None):
                yield from map(SeenObject.of, page)

    def directly_in(self, folder: str) -> list[SeenObject]:
        """The objects in a folder, without those in folders below.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            return [
                SeenObject.of(each) for each in self._store.list_with_delimiter(folder or None)["objects"]
            ]

    def read_range(self, name: str, start: int, length: int) -> bytes:
        """A part of an object.

        Raises:
            FileNotFoundError: there is no such object.
            PermissionError: this object may not be read, such as one in an archive.
            StorageError: the store refuses.
        """
        from obstore.exceptions import PermissionDeniedError

        with self._errors():
            try:
                return bytes(self._store.get_range(name, start=start, length=length))
            except PermissionDeniedError as error:
                refused = PermissionError(first_line(error)[:200].rstrip(" .,"))
        raise refused

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of all objects below a folder, by their names.

        Raises:
            StorageError: the store refuses.
        """
        return {each.name: each.size for each in self.below(folder)}

    def names(self) -> set[str]:
        """Names of the objects and folders at the top.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            found = self._store.list_with_delimiter()
            paths = [*found["common_prefixes"], *(each["path"] for each in found["objects"])]
            return {path.rstrip("/").rsplit("/", 1)[-1] for path in paths}

    def move(self, folder: str, to: str) -> None:
        """Move all objects below a folder, one after the other; an interrupted move goes on with a second one.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            for name in self.sizes(folder):
                self._store.rename(name, f"{to}/{name.removeprefix(f'{folder}/')}")

    def remove(self, names: list[str]) -> None:
        """Remove objects; what is gone already is no error.

        Raises:
            StorageError: the store refuses.
        """
        if names:
            with self._errors():
                self._store.delete(names)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        """Context around calls of obstore.

        Raises:
            FileNotFoundError: the object is not there.
            StorageError: anything else.
        """
        from obstore.exceptions import BaseError

        try:
            yield
        except ProstError:
            raise
        except (BaseError, OSError) as error:
            refusal = object_store_refusal(str(error))
            if refusal is None and isinstance(error, FileNotFoundError):
                raise
            what, suggestion = refusal or (
                f"the object store cannot be used ({first_line(error)[:200].rstrip(' .,')})",
                "check the address, the network and the credentials",
            )
            raise StorageError(f"{self.root}: {what}", suggestion=suggestion) from None


def object_store_refusal(text: str) -> tuple[str, str] | None:
    """What an object store refused and what to try; None where the text tells of something else.

    Args:
        text: of an error of obstore or of Lance.
    """
    return next(
        ((what, suggestion) for sign, what, suggestion in OBJECT_STORE_REFUSALS if re.search(sign, text)),
        None,
    )


def lance_options(storage_options: Mapping[str, str] | None) -> dict[str, str] | None:
    """The options as Lance takes them: an endpoint without TLS has to be allowed, also one of the environment."""
    options = {str(key): str(value) for key, value in (storage_options or {}).items()}
    if _without_tls(options):
        options.setdefault("allow_http", "true")
    return options or None


def _without_tls(options: Mapping[str, str]) -> bool:
    """Whether the options, or the environment, name an endpoint without TLS."""
    given = [value for key, value in options.items() if key.lower().endswith(("endpoint", "endpoint_url"))]
    return any(
        value.startswith("http://") for value in [*given, *(os.environ.get(name, "") for name in ENDPOINTS)]
    )


def _settings(root: str, options: Mapping[str, str]) -> tuple[Any, Any]:
    """Settings of the store and of the connection to it."""
    given = {str(key).lower(): str(value) for key, value in options.items()}
    config = {key: value for key, value in given.items() if key not in CLIENT_KEYS | LANCE_KEYS}
    client = {**CLIENT, **{key: value for key, value in given.items() if key in CLIENT_KEYS}}
    if root.startswith("s3://"):
        config = {**_from_profile(config), **config}
    if _without_tls(config):
        client.setdefault("allow_http", "true")
    return config or None, client


def _from_profile(config: Mapping[str, str]) -> dict[str, str]:
    """What the profile of AWS tools holds, where neither the options nor the environment have keys."""
    if os.environ.get("AWS_ACCESS_KEY_ID") or any(key.endswith("access_key_id") for key in config):
        return {}
    profile = os.environ.get("AWS_PROFILE") or "default"
    folder = Path.home() / ".aws"
    found: dict[str, str] = {}
    for variable, name, section in (
        ("AWS_CONFIG_FILE", "config", profile if profile == "default" else f"profile {profile}"),
        ("AWS_SHARED_CREDENTIALS_FILE", "credentials", profile),
    ):
        parser = configparser.RawConfigParser()
        try:
            parser.read(os.environ.get(variable) or folder / name, encoding="utf-8")
        except (configparser.Error, OSError, UnicodeDecodeError):
            continue
        if parser.has_section(section):
            found |= {
                ours: parser.get(section, theirs)
                for theirs, ours in PROFILE_KEYS.items()
                if parser.has_option(section, theirs)
            }
    if os.environ.get("AWS_REGION") or os.environ.get("AWS_DEFAULT_REGION"):
        found.pop("aws_region", None)
    if any(os.environ.get(variable) for variable in ENDPOINTS):
        found.pop("aws_endpoint", None)
    return found


def _version(found: Mapping[str, Any]) -> UpdateVersion:
    # Each store has one of the two or both.
    return {key: found[key] for key in ("e_tag", "version") if found[key] is not None}  # type: ignore[return-value]
