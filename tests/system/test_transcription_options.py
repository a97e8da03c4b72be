"""The options of a transcription on the command line."""

from __future__ import annotations

import argparse
from typing import Any

import pytest

from intaglio.commands import transcription
from intaglio.runtime.tasks.whisper.options import Options


def parsed(*arguments: str) -> dict[str, Any]:
    parser = argparse.ArgumentParser()
    parser.add_argument("--temperature", type=transcription.temperature)
    parser.add_argument("--seed", type=int)
    transcription.add_arguments(parser.add_argument_group())
    return transcription.values(parser.parse_args(arguments))


def test_only_what_is_named_is_set() -> None:
    assert parsed() == {}


def test_values() -> None:
    values = parsed(
        *("--no-condition-on-previous-text", "--logprob-threshold", "none", "--no-speech-threshold", "0.5"),
        *("--best-of", "3", "--initial-prompt", "none", "--temperature", "0,0.4", "--clip-timestamps", "1,2"),
    )
    options = Options(**values)
    assert options.condition_on_previous_text is False and options.logprob_threshold is None
    assert (options.no_speech_threshold, options.best_of, options.initial_prompt) == (0.5, 3, "none")
    assert options.temperatures == (0, 0.4) and options.clips == [(1, 2)]


@pytest.mark.parametrize("argument", ["--best-of=many", "--logprob-threshold=low", "--temperature=hot"])
def test_what_is_not_a_number(argument: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        parsed(argument)
    assert argument.split("=")[0] in capsys.readouterr().err
