"""A server of two tiny bundles."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import openai
import pytest
from serving import Running

import intaglio
from intaglio.serve import Settings

FIXTURES = Path(__file__).parents[1] / "fixtures"


@pytest.fixture(scope="session")
def bundles(tmp_path_factory: pytest.TempPathFactory) -> dict[str, intaglio.Bundle]:
    folder = tmp_path_factory.mktemp("served")
    exports = {"chat": "llama-optimum-18", "speech": "whisper-merged-18"}
    return {name: intaglio.compile(FIXTURES / export, folder / name) for name, export in exports.items()}


@pytest.fixture(scope="session")
def server(bundles: dict[str, intaglio.Bundle]) -> Iterator[Running]:
    running = Running(bundles, Settings(max_upload=1_000_000))
    yield running
    running.stop()


@pytest.fixture
def client(server: Running) -> openai.OpenAI:
    return server.client()
