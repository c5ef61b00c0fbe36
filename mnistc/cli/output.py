"""What commands say and how they fail: one JSON object, or text; one line, never a traceback."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any

import typer

FAILURES = (ValueError, TypeError, OSError, ImportError, RuntimeError, MemoryError, OverflowError)


def say(text: str = "") -> None:
    """Write a line on standard output."""
    print(text, flush=True)


def note(text: str) -> None:
    """Write a line on standard error."""
    print(text, file=sys.stderr, flush=True)


def emit(values: dict[str, Any]) -> None:
    """Write the one JSON object of ``--json``; JSON has no NaN: what is not finite is null."""
    text = json.dumps(values, default=str)
    values = json.loads(text, parse_constant=lambda name: None)
    print(json.dumps(values), flush=True)


def reason(error: BaseException) -> str:
    """One line that says what went wrong."""
    if isinstance(error, OSError) and error.strerror:
        place = f": {error.filename}" if error.filename is not None else ""
        return f"{error.strerror}{place}"
    if isinstance(error, MemoryError):
        return "out of memory"
    return " ".join(str(error).split()) or type(error).__name__


def fail(text: str, as_json: bool, **values: Any) -> typer.Exit:
    """Say why the command failed; raise what is returned."""
    note(f"error: {text}")
    if as_json:
        with suppress(OSError):  # standard output may be what failed
            emit({"error": text, **values})
    return typer.Exit(1)


def silence() -> None:
    """Standard output takes nothing any more: Python is not to try once more at its end."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


@contextmanager
def failures(as_json: bool = False) -> Iterator[None]:
    """Turn a user's mistakes and the world's mishaps into one line and exit status 1."""
    try:
        yield
    except typer.Exit:  # a RuntimeError, but no failure
        raise
    except BrokenPipeError:  # the reader of standard output left, as `head` does
        silence()
        raise typer.Exit(1) from None
    except KeyboardInterrupt:
        raise fail("interrupted", as_json) from None
    except FAILURES as error:
        raise fail(reason(error), as_json) from None


def usage(argument: str, text: str) -> typer.BadParameter:
    """A wrong argument; raise it for exit status 2."""
    return typer.BadParameter(text, param_hint=f"'{argument}'")
