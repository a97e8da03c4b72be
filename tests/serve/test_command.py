"""The command `intaglio serve`: it says where it is, and stops when it is told to."""

from __future__ import annotations

import re
import signal
import subprocess
import sys

import httpx2 as httpx
import pytest

import intaglio


def test_it_serves_until_it_is_stopped(bundles: dict[str, intaglio.Bundle]) -> None:
    command = [sys.executable, "-m", "intaglio", "serve", f"talk={bundles['chat'].folder}", "--port", "0"]
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True) as process:
        assert process.stderr is not None
        lines = iter(process.stderr.readline, "")
        url = next(match.group() for line in lines if (match := re.search(r"http://[\d.]+:\d+", line)))
        assert [model["id"] for model in httpx.get(f"{url}/v1/models").json()["data"]] == ["talk"]
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


@pytest.mark.parametrize("arguments, message", [(["nowhere"], "nowhere"), (["a", "a"], "same name|a")])
def test_what_cannot_be_served(arguments: list[str], message: str) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "intaglio", "serve", *arguments], capture_output=True, text=True, timeout=60
    )
    assert done.returncode == 1 and re.search(message, done.stderr) and done.stderr.count("\n") == 1
