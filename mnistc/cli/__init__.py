"""The command line: ``mnistc train``, ``evaluate``, ``predict``, ``export``, ..."""

from __future__ import annotations

import sys


def main() -> None:
    """Run the command line; exits with 0 (done), 1 (failed) or 2 (wrong usage)."""
    from mnistc.cli.app import app
    from mnistc.cli.output import reason, silence

    told = False
    try:
        try:
            app(prog_name="mnistc")
        except SystemExit as end:
            told = bool(end.code)
            if sys.stdout is not None:
                sys.stdout.flush()
            raise
    except OSError as error:  # nothing can be said on standard output, such as for a full disk
        silence()
        raise SystemExit(1 if told else f"error: {reason(error)}") from None
