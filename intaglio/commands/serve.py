"""serve: bundles as a server that speaks OpenAI's API."""

from __future__ import annotations

import argparse
import logging
import os
import re
import signal
import warnings
from pathlib import Path
from typing import Any

import intaglio
from intaglio.commands.arguments import add_adapter
from intaglio.commands.progress import ProgressLine

SUMMARY = "serve bundles to clients of OpenAI's API"
KEYS = "INTAGLIO_API_KEYS"
_UNITS = {"": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9}


def add_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "bundles", metavar="[NAME=]BUNDLE", nargs="+", help="the folders of bundles, and the names that clients use"
    )
    parser.add_argument("--host", metavar="HOST", default="127.0.0.1", help="the address (default: 127.0.0.1)")
    parser.add_argument("--port", metavar="N", type=int, default=8000, help="the port; 0: a free one (default: 8000)")
    parser.add_argument(
        "--sessions", metavar="N", type=int, default=2, help="requests of a bundle that run side by side (default: 2)"
    )
    parser.add_argument("--queue", metavar="N", type=int, default=32, help="requests that may wait (default: 32)")
    parser.add_argument(
        "--api-key-file", metavar="FILE", type=Path, help=f"the keys of clients, one in a line (default: ${KEYS})"
    )
    parser.add_argument(
        "--max-upload", metavar="SIZE", type=_size, default="200MB", help="the largest request (default: 200MB)"
    )
    parser.add_argument(
        "--cors", metavar="ORIGIN", action="append", default=[], help="let pages of this origin use the server"
    )
    parser.add_argument("--strict-models", action="store_true", help="refuse requests that do not name a model here")
    parser.add_argument("--no-metrics", action="store_true", help="do not answer /metrics")
    parser.add_argument(
        "--grace", metavar="SECONDS", type=int, default=30, help="when stopped, let requests finish (default: 30)"
    )
    add_adapter(parser)


def _size(text: str) -> int:
    """A number of bytes such as 200MB."""
    match = re.fullmatch(r"(\d+)\s*(kB|MB|GB|)", text)
    if match is None:
        raise argparse.ArgumentTypeError(f"expected a size such as 200MB, got {text!r}")
    return int(match.group(1)) * _UNITS[match.group(2)]


def run(options: argparse.Namespace, progress: ProgressLine) -> int:
    try:
        import uvicorn

        from intaglio import serve
    except ModuleNotFoundError as error:
        if (error.name or "").startswith("intaglio"):
            raise
        raise ValueError(f"the server needs {error.name}: pip install 'intaglio[serve]'") from None
    bundles = {name: intaglio.load(path) for name, path in map(_named, options.bundles)}
    if len(bundles) < len(options.bundles):
        raise ValueError("two bundles have the same name; name them, as in a=BUNDLE b=BUNDLE")
    for bundle in bundles.values():
        _ = bundle.replays
    settings = serve.Settings(
        keys=_keys(options.api_key_file),
        sessions=options.sessions,
        queue=options.queue,
        max_upload=options.max_upload,
        strict=options.strict_models,
        cors=options.cors,
        metrics=not options.no_metrics,
    )
    warnings.simplefilter("ignore", UserWarning)  # notes about recordings and texts; they hold what users said
    logging.basicConfig(level=logging.INFO, format="%(asctime)s %(message)s")
    application = serve.app(bundles, settings)

    class Server(uvicorn.Server):
        """Requests that wait are told that the server stops, before those that run are awaited."""

        async def shutdown(self, sockets: Any = None) -> None:
            application.state.models.close()
            await super().shutdown(sockets)

    config = uvicorn.Config(
        application,
        host=options.host,
        port=options.port,
        log_config=None,
        access_log=False,
        timeout_graceful_shutdown=options.grace,
    )
    signal.signal(signal.SIGTERM, lambda *_: None)  # uvicorn raises the signal again when it has stopped
    Server(config).run()
    return 0


def _named(argument: str) -> tuple[str, str]:
    """The name and the folder of a bundle."""
    name, mark, path = argument.partition("=")
    if mark and name and not Path(argument).exists():
        return name, path
    return Path(argument).resolve().name.removesuffix(".bundle"), argument


def _keys(file: Path | None) -> list[str]:
    """The keys of clients. Raises ValueError for a file without any."""
    text = os.environ.get(KEYS, "").replace(",", "\n") if file is None else file.read_text("utf-8")
    keys = [key.strip() for key in text.splitlines() if key.strip()]
    if file is not None and not keys:
        raise ValueError(f"{file} holds no keys; expected one in a line")
    return keys
