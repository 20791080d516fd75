"""The command `tamis browse`: a run's pages on 127.0.0.1, until Ctrl-C."""

import contextlib
import secrets
import socket
from typing import Annotated

import typer

from pipeline.exits import told
from pipeline.report.place import run_here

#: The only address that the server listens on. There is no option for another one: who wants to read from afar makes
#: a tunnel (ssh -L), which asks who they are.
LOOPBACK = "127.0.0.1"


def listening(port: int = 0) -> socket.socket:
    """A socket that listens on loopback; port 0: any that is free. ValueError if the port is taken."""
    listener = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    try:
        listener.bind((LOOPBACK, port))
    except OSError as error:
        listener.close()
        raise ValueError(f"--port {port}: {error.strerror}. Leave it out, and any free port is taken.") from error
    listener.listen()
    return listener


def browse_command(
    run_folder: Annotated[str, typer.Argument(help="folder of a finished run, as given by --out; local or s3://")],
    port: Annotated[int, typer.Option(min=0, max=65535, help="port on 127.0.0.1 [default: any that is free]")] = 0,
    work: Annotated[str | None, typer.Option(help="the run's folder of cached phases, if it was moved")] = None,
) -> None:
    """Search, filter and read the documents of a run, kept and dropped alike, in a browser on this machine."""
    with told():
        try:
            # Here and not above: the extra `browse` brings them, and no other command needs them.
            import uvicorn

            from pipeline.browse.server import application
            from pipeline.browse.shelf import Shelf
        except ModuleNotFoundError as error:
            raise ValueError(f"{error.name} is not installed: pip install 'tamis[browse]'") from error
        token = secrets.token_urlsafe(24)
        # The parts of a run in a store are read again with every page: they are brought to the local disk (TMPDIR).
        with run_here(run_folder) as here, listening(port) as listener:
            shelf = Shelf(str(here), work=work)
            config = uvicorn.Config(
                application(shelf, token=token), log_level="warning", lifespan="off", server_header=False
            )
            print(f"http://{LOOPBACK}:{listener.getsockname()[1]}/{token}/", flush=True)
            print("Anybody with this address can read the run. Ctrl-C ends it.", flush=True)
            # Ctrl-C is how this ends: the server finishes its answers, then hands the signal on.
            with contextlib.suppress(KeyboardInterrupt), contextlib.closing(shelf):
                uvicorn.Server(config).run(sockets=[listener])
