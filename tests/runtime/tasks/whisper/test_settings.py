"""The settings in generation.json, and the languages and tasks that they allow."""

from __future__ import annotations

import pytest
from whisper_script import SETTINGS

from intaglio.runtime.errors import BadBundle
from intaglio.runtime.tasks.whisper.settings import Settings


def test_language_and_task_of_the_settings():
    plain, fixed = Settings.parse(SETTINGS), Settings.parse(SETTINGS | {"language": "de", "task": "translate"})
    assert plain.choices(None, None) == (None, "transcribe")
    assert fixed.choices(None, None) == ("de", "translate")
    assert fixed.choices("auto", "transcribe") == (None, "transcribe")
    assert fixed.choices("en", None) == ("en", "translate")
    with pytest.raises(BadBundle, match=r"generation\.json is broken"):
        Settings.parse(SETTINGS | {"language": "xx"})
