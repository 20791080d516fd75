"""How commands end: 0 done, 1 failed (the run, a check), 2 the user's mistake (recipe, option, path)."""

import contextlib
import sys
from collections.abc import Iterator

import typer

from pipeline.contamination import NotLookedForError
from pipeline.explain import UnknownDocumentError
from pipeline.lock import LockedError, NotWritableError
from pipeline.resources import ResourceError
from pipeline.runners.base import TaskFailedError
from pipeline.sources.listing import InputError
from pipeline.yaml_tree import RecipeError

#: What a user can put right: exit code 2.
USER_ERRORS = (
    RecipeError,
    InputError,
    ResourceError,
    UnknownDocumentError,
    NotLookedForError,
    NotWritableError,
    FileNotFoundError,
    NotADirectoryError,
)
#: What went wrong while working: exit code 1.
FAILURES = (TaskFailedError, LockedError, OSError, ValueError)


@contextlib.contextmanager
def told() -> Iterator[None]:
    """Turn the errors that we raise on purpose into one message and an exit code; others keep their traceback."""
    try:
        yield
    except USER_ERRORS as error:
        print(f"tamis: {error}", file=sys.stderr)
        raise typer.Exit(2) from error
    except FAILURES as error:
        print(f"tamis: {error}", file=sys.stderr)
        raise typer.Exit(1) from error
    except KeyboardInterrupt:
        print("tamis: stopped. The same command goes on from here.", file=sys.stderr)
        raise typer.Exit(1) from None
