"""Small objects of a library on an object store: written whole, and only if nobody else wrote them meanwhile.

Lance reads and writes the tables. Everything else that a library holds goes through here: its description, the
writer's lease, the packs. The package obstore (extra `s3`) has the conditional writes that a lease needs.

Credentials, region and endpoint come from `storage_options`, or from where AWS tools look: the variables `AWS_*`, then
the profile in `~/.aws`, then the machine's own role.
"""

from __future__ import annotations

import configparser
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from prost.errors import ProstError, StorageError, UsageError
from prost.search.storage_errors import first_sentence, object_store_refusal

if TYPE_CHECKING:
    from obstore import UpdateVersion

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


def is_remote(root: str) -> bool:
    """Whether a library lies on an object store."""
    return "://" in root


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


class ObjectStore:
    """The objects below the URI of a library.

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
                f"{root}: a library on an object store needs the package obstore",
                suggestion="pip install 'prost-video[s3]'",
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
                raise UsageError(f"storage_options: {first_sentence(error)}") from None

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

    def sizes(self, folder: str = "") -> dict[str, int]:
        """Bytes of all objects below a folder, by their names.

        Raises:
            StorageError: the store refuses.
        """
        with self._errors():
            return {each["path"]: each["size"] for page in self._store.list(folder or None) for each in page}

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
                f"the object store cannot be used ({first_sentence(error)})",
                "check the address, the network and the credentials",
            )
            raise StorageError(f"{self.root}: {what}", suggestion=suggestion) from None


def lance_options(storage_options: Mapping[str, str] | None) -> dict[str, str] | None:
    """The options as Lance takes them: an endpoint without TLS has to be allowed."""
    if not storage_options:
        return None
    options = {str(key): str(value) for key, value in storage_options.items()}
    if any(key.lower().endswith(("endpoint", "endpoint_url")) for key in options if _is_http(options[key])):
        options.setdefault("allow_http", "true")
    return options


def _settings(root: str, options: Mapping[str, str]) -> tuple[Any, Any]:
    """Settings of the store and of the connection to it."""
    given = {str(key).lower(): str(value) for key, value in options.items()}
    config = {key: value for key, value in given.items() if key not in CLIENT_KEYS | LANCE_KEYS}
    client = {**CLIENT, **{key: value for key, value in given.items() if key in CLIENT_KEYS}}
    if root.startswith("s3://"):
        config = {**_from_profile(config), **config}
    endpoints = [value for key, value in config.items() if key.endswith(("endpoint", "endpoint_url"))]
    endpoints += [
        os.environ.get(name, "") for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "AWS_ENDPOINT")
    ]
    if any(map(_is_http, endpoints)):
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
    if os.environ.get("AWS_ENDPOINT_URL"):
        found.pop("aws_endpoint", None)
    return found


def _is_http(address: str) -> bool:
    return address.startswith("http://")


def _version(found: Mapping[str, Any]) -> UpdateVersion:
    # Each store has one of the two or both.
    return {key: found[key] for key in ("e_tag", "version") if found[key] is not None}  # type: ignore[return-value]
