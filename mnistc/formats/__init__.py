"""Reading and writing models: the package's own file, and those of others."""

from mnistc.formats.model_file import ModelFile, read_model, verify, write_model

__all__ = ["ModelFile", "read_model", "verify", "write_model"]
