"""The command line: ``mnistc train``, ``evaluate``, ``predict``, ``export``, ..."""

from __future__ import annotations


def main() -> None:
    """Run the command line; exits with 0 (done), 1 (failed) or 2 (wrong usage)."""
    from mnistc.cli.app import app

    app(prog_name="mnistc")
