"""`prost serve`: a library over HTTP, with a page to search it."""

from __future__ import annotations

import webbrowser
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from prost.apps.cli.options import (
    DeviceOption,
    LibraryOption,
    ModelOption,
    load_library_model,
    open_library,
)
from prost.apps.cli.output import print_line, say
from prost.errors import UsageError, install_extra

if TYPE_CHECKING:
    from prost.search.encode import PrototypeModel

INSTALL = install_extra("serve")
NEEDED = ("fastapi", "uvicorn", "python_multipart")
TOKEN_VARIABLE = "PROST_TOKEN"


def serve(
    library: LibraryOption,
    model: ModelOption = None,
    device: DeviceOption = "auto",
    host: Annotated[
        str,
        typer.Option("--host", help="Address to listen on. One that other machines can reach needs a token."),
    ] = "127.0.0.1",
    port: Annotated[
        int, typer.Option("--port", min=0, max=65535, help="Port to listen on; 0 for any free one.")
    ] = 8765,
    token: Annotated[
        str | None,
        typer.Option(
            "--token",
            envvar=TOKEN_VARIABLE,
            show_default="none on this machine",
            help="What clients must show: 32 characters or more. Other users of this machine can see the options of "
            "a command, so prefer the variable.",
        ),
    ] = None,
    videos: Annotated[
        list[Path] | None,
        typer.Option(
            "--videos",
            metavar="FOLDER",
            help="A folder that may be indexed from the page, with all below it; may be repeated.",
        ),
    ] = None,
    open_page: Annotated[bool, typer.Option("--open", help="Open the page in a browser.")] = False,
    ray: Annotated[
        str | None,
        typer.Option(
            "--ray",
            metavar="ADDRESS",
            help="Let replicas on Ray Serve score the clips, each those of a part of the library: HOST:PORT of a "
            "cluster whose machines reach the library at the same path, or `local` for processes of this machine.",
        ),
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(
            "--replicas", min=1, show_default="by the size of the library", help="Number of these replicas."
        ),
    ] = None,
) -> None:
    """Serve a library over HTTP, until Ctrl-C or SIGTERM.

    The API is described at /api/openapi.json. Without a token only this machine is answered. The exit code is 0.
    """
    missing = [name for name in NEEDED if not find_spec(name)]
    if missing:
        raise UsageError(f"prost serve needs {', '.join(missing)}", "the extra `serve`", INSTALL)
    if replicas is not None and ray is None:
        raise UsageError("--replicas without --ray", "both", "--ray local")
    if ray is not None:
        from prost.scale.cluster import expect_reachable

        expect_reachable(ray)
    from prost.apps.server.on_ray import served_through
    from prost.apps.server.running import Server, bound_socket
    from prost.apps.server.settings import ServerSettings

    for folder in videos or ():
        if not folder.expanduser().is_dir():
            raise UsageError(f"{folder} is not a folder", "folders that may be indexed")

    def load_model(path: str) -> PrototypeModel:
        return load_library_model(path, model, device)

    # Before the model is loaded: wrong options and a port in use are told at once.
    listening = bound_socket(host, port)
    try:
        settings = ServerSettings(
            host=host,
            port=listening.getsockname()[1],
            token=token,
            videos=tuple(folder.expanduser().absolute() for folder in videos or ()),
            model=model,
            device=device,
            load_model=load_model,
        )
        with (
            open_library(library, model, device) as opened,
            served_through(opened, ray, replicas, say) as places,
        ):
            from prost.apps.server.app import create_app

            shown = f"[{host}]" if ":" in host else host
            address = f"http://{shown}:{settings.port}/"

            def announce() -> None:
                print_line(f"serving {opened.path} at {address}{places}")
                if open_page and not webbrowser.open(address):
                    say(f"no browser was found; open {address}")

            server = Server(create_app(opened, settings), settings, on_start=announce)
            server.run(sockets=[listening])
    except KeyboardInterrupt:
        say("stopped")
    finally:
        listening.close()
