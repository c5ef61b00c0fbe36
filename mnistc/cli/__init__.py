"""The command line: ``mnistc train``, ``evaluate``, ``predict``, ``export``, ..."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exits with 0 (done), 1 (failed) or 2 (wrong usage)."""
    from mnistc.cli.app import app
    from mnistc.cli.output import reason

    try:
        app(prog_name="mnistc")
    except OSError as error:  # nothing can be said on standard output, such as for a full disk
        raise SystemExit(f"error: {reason(error)}") from None
