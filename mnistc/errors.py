"""Exceptions of the package. Everything else is ValueError, TypeError or FileNotFoundError."""


class FormatError(ValueError):
    """A file is not what it claims to be: truncated, oversized, inconsistent or malicious.

    The message is one line that names what was wrong and what was wanted.
    """


class MissingExtraError(ImportError):
    """An optional dependency is not installed.

    Parameters
    ----------
    package : str
        The package that could not be imported.
    extra : str
        The extra of mnistc that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        super().__init__(
            f"this needs the package {package!r}: install it with pip install 'mnistc[{extra}]'",
            name=package,
        )
