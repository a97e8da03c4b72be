"""The error that the Python face adds to those of the compiler and the runtime."""

from __future__ import annotations


class NoCompiler(ImportError):
    """Only the runtime is installed."""
