"""A server of bundles that speaks OpenAI's API: `app` makes the ASGI application."""

from __future__ import annotations

from intaglio.serve.app import Settings, app

__all__ = ["Settings", "app"]
