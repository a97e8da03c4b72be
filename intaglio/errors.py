"""The error that the Python API adds to those of the compiler and the runtime."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager


class NoCompiler(ImportError):
    """The compiler is not installed: `pip install 'intaglio[compiler]'`."""


@contextmanager
def needing_compiler() -> Iterator[None]:
    """Import or run the compiler. Raises NoCompiler if a library that it needs is not installed."""
    try:
        yield
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("intaglio"):
            raise
        raise NoCompiler(f"the compiler needs {error.name}: pip install 'intaglio[compiler]'") from None
