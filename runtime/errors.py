"""The errors that users of a bundle may see."""

from __future__ import annotations


class BadBundle(ValueError):
    """The bundle is broken, incomplete, or has a format that this version does not read."""


class NanScores(ValueError):
    """The model's scores of the next token, or its numbers for a text, are NaN."""


class NoAdapter(RuntimeError):
    """This machine has no WebGPU adapter."""


class UnknownAdapter(ValueError):
    """No adapter has this index or name."""


class DeviceLimit(RuntimeError):
    """The adapter lacks the memory, a limit or a feature that the bundle needs."""


class Cancelled(RuntimeError):
    """The caller cancelled what a bundle was doing."""


class DeviceLost(RuntimeError):
    """The adapter stopped while it ran a bundle: its driver was reset, or it was removed."""
