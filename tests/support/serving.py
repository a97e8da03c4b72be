"""A server of bundles in a thread, and OpenAI's clients of it."""

from __future__ import annotations

import asyncio
import threading
import time

import openai
import uvicorn

import intaglio
from intaglio.serve import Settings, app


class Running:
    """A server on a free port. `url`: where it is."""

    def __init__(self, bundles: dict[str, intaglio.Bundle], settings: Settings) -> None:
        self.app = app(bundles, settings)
        self.server = uvicorn.Server(uvicorn.Config(self.app, port=0, log_level="error"))
        self._thread = threading.Thread(target=lambda: asyncio.run(self.server.serve()), daemon=True)
        self._thread.start()
        while not (self.server.started and self.app.state.models.ready):
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{self.server.servers[0].sockets[0].getsockname()[1]}"

    def client(self, key: str = "none") -> openai.OpenAI:
        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0)

    def stop(self) -> None:
        self.server.should_exit = True
        self._thread.join(30)
        assert not self._thread.is_alive()
