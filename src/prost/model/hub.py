"""The way of the Hugging Face hub: `from_pretrained`, `save_pretrained` and `push_to_hub` over our own load and save.

The mixin of huggingface_hub is not inherited. It would import the hub's library with every model, write the weights and
the configuration in two steps, and download without comparing hashes.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from prost.errors import CheckpointError, DownloadFailed, UploadFailed, UsageError
from prost.model.card import CARD, model_card, read_figures
from prost.model.checkpoint import load, save
from prost.model.locating import is_hub_name
from prost.model.model_files import files_of_model
from prost.model.retrieval_model import RetrievalModel
from prost.model.saving import CONFIG

Model = RetrievalModel[Any, Any]
MESSAGE = "Upload a model of prost"


def save_pretrained(
    model: Model,
    folder: str | os.PathLike[str],
    *,
    figures: Sequence[str | os.PathLike[str]] = (),
    licence: str | None = None,
    half: bool = False,
) -> None:
    """Write a model with its card; see `RetrievalModel.save_pretrained`."""
    folder = Path(folder)
    known = read_figures([Path(place) for place in figures], model)
    # A card that is there stays: a person may have written it.
    card = (
        {}
        if (folder / CARD).is_file()
        else {CARD: model_card(model, str(folder), known, licence=licence, half=half)}
    )
    save(model, folder, half=half, beside=card)


def push(
    model: Model,
    repository: str,
    *,
    figures: Sequence[str | os.PathLike[str]] = (),
    licence: str | None = None,
    half: bool = False,
    card: str | None = None,
    private: bool | None = None,
    token: str | None = None,
    message: str = MESSAGE,
    branch: str | None = None,
    create_pr: bool = False,
) -> str:
    """Upload a model in one commit; see `RetrievalModel.push_to_hub`.

    `card` is the text of README.md; None writes one.
    """
    if not is_hub_name(repository):
        raise UsageError(f"{repository!r} as the name of a repository", "OWNER/NAME")
    known = read_figures([Path(place) for place in figures], model)
    text = model_card(model, repository, known, licence=licence, half=half) if card is None else card
    from huggingface_hub import HfApi, errors

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    with TemporaryDirectory(prefix="prost-push-") as place:
        save(model, place, half=half, beside={CARD: text})
        try:
            made = api.create_repo(repository, private=private, exist_ok=True)
            commit = api.upload_folder(
                repo_id=made.repo_id,
                folder_path=place,
                commit_message=message,
                revision=branch,
                create_pr=create_pr,
            )
        except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # of its HTTP library
            reason = " ".join(str(error).split()) or type(error).__name__
            raise UploadFailed(
                f"{repository} was not uploaded ({reason})",
                "a login with permission to write, and a network",
                "hf auth login, or HF_TOKEN",
            ) from None
    return str(commit.commit_url)


def from_pretrained(
    kind: type[Model],
    name_or_path: str | os.PathLike[str],
    *,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | os.PathLike[str] | None = None,
    local_files_only: bool = False,
    device: str = "auto",
    **overrides: Any,
) -> Model:
    """Open a model; see `RetrievalModel.from_pretrained`."""
    given = os.fspath(name_or_path)
    if revision is None and token is None and cache_dir is None:
        model = load(given, device, download=not local_files_only, **overrides)
    else:
        if not is_hub_name(given) or Path(given).exists():
            raise UsageError(f"revision, token or cache_dir for {given}", "OWNER/NAME on the hub")
        model = load(_snapshot(given, revision, token, cache_dir, local_files_only), device, **overrides)
    if not isinstance(model, kind):
        raise CheckpointError(
            f"{given} is a {type(model).__name__}",
            f"a {kind.__name__}",
            f"{type(model).__name__}.from_pretrained, or prost.load",
        )
    return model


def _snapshot(
    name: str,
    revision: str | None,
    token: str | None,
    cache_dir: str | os.PathLike[str] | None,
    local_files_only: bool,
) -> Path:
    """The files of one revision in the hub's own cache."""
    from huggingface_hub import HfApi, errors

    api = HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None, token=token)
    try:
        # Without network the list is unknown; one file leads to the folder of the revision.
        listed = (
            [CONFIG] if local_files_only else files_of_model(api.list_repo_files(name, revision=revision))
        )
        found = api.snapshot_download(
            name,
            revision=revision,
            cache_dir=None if cache_dir is None else Path(cache_dir),
            allow_patterns=listed,
            local_files_only=local_files_only,
        )
    except (errors.HTTPError, OSError) as error:  # type: ignore[attr-defined]  # of its HTTP library
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DownloadFailed(
            f"{name} cannot be fetched ({reason})", suggestion="check the name and the network"
        ) from None
    return Path(found)
