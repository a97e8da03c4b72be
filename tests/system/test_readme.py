"""The README and the guides: every command and program in them runs, and the demo prints what the README shows."""

from __future__ import annotations

import re
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
INSPECTING = (ROOT / "docs" / "inspecting.md").read_text(encoding="utf-8")
TEXT = README + INSPECTING + (ROOT / "docs" / "tuning.md").read_text(encoding="utf-8")
BUNDLE = ROOT / "build" / "whisper-tiny.en.bundle"
CHAT = ROOT / "build" / "smollm2-135m-instruct.bundle"


def blocks(language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", TEXT, re.DOTALL)


QUESTION = "What is the capital of France?\n"
COMMANDS = [line for block in blocks("sh") for line in block.splitlines() if line.startswith("intaglio ")]


def run(command: str) -> str:
    arguments = [sys.executable, "-m", *shlex.split(command)]
    return subprocess.run(arguments, cwd=ROOT, check=True, capture_output=True, text=True, input=QUESTION).stdout


@pytest.fixture(scope="module", autouse=True)
def bundles(tiny_en_export: Path, smollm2_export: Path) -> None:
    """What the other commands use."""
    for bundle in BUNDLE, CHAT:
        if not (bundle / "plan.json").exists():
            run(next(c for c in COMMANDS if c.endswith(f"-o {bundle.relative_to(ROOT)}")))


def test_the_first_command_compiles() -> None:
    assert COMMANDS[0].startswith("intaglio compile ")
    assert COMMANDS[0].endswith(str(BUNDLE.relative_to(ROOT)))


@pytest.mark.parametrize("command", COMMANDS)
def test_commands_run(command: str) -> None:
    printed = run(command)
    assert printed or command.startswith("intaglio compile")


@pytest.mark.parametrize("program", blocks("python"), ids=lambda program: f"{len(program)} characters")
def test_programs_run(program: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.chdir(ROOT)
    exec(compile(program, "README.md", "exec"), {})
    printed = capsys.readouterr().out
    assert "0.00 - " in printed or "The capital of France is Paris" in printed


def test_the_chat_model_answers() -> None:
    assert run(next(c for c in COMMANDS if c.endswith("--chat"))) == "The capital of France is Paris.\n"


def test_the_demo_prints_the_text_that_the_readme_shows() -> None:
    (text,) = re.findall(r"^    (And so my fellow Americans.*)$", README, re.MULTILINE)
    assert run(next(c for c in COMMANDS if c.startswith("intaglio run"))).strip() == text


def test_an_explanation_is_what_the_guide_shows() -> None:
    lines = run(next(c for c in COMMANDS if "--explain" in c)).splitlines()
    assert len(lines) == 4 and all(f"\n    {line}\n" in INSPECTING for line in lines)


def test_make_has_the_two_commands() -> None:
    makefile = (ROOT / "Makefile").read_text()
    for target in re.findall(r"^make (\w+)$", README, re.MULTILINE):
        assert re.search(rf"^{target}:", makefile, re.MULTILINE)
