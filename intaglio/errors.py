"""The error that the Python API adds to those of the compiler and the runtime."""

from __future__ import annotations


class NoCompiler(ImportError):
    """The compiler is not installed: `pip install 'intaglio[compiler]'`."""
