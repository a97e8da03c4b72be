"""What can go wrong for users of a bundle."""

from __future__ import annotations


class BadBundle(ValueError):
    """The bundle is broken, incomplete, or not made for this version."""


class NoAdapter(RuntimeError):
    """No WebGPU adapter was found."""


class DeviceLimit(RuntimeError):
    """The adapter cannot hold or run what was asked of it."""
