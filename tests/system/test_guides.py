"""The guides of docs/: their diffs apply to a copy of this repository, and the commands beside them pass there."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
COPIED = "compiler codegen runtime templates intaglio docs tests examples pyproject.toml README.md".split()
GUIDES = "add-an-operator", "add-a-pass"


def blocks(guide: str) -> list[tuple[str, str]]:
    """The diffs and commands of a guide, in order."""
    text = (ROOT / "docs" / f"{guide}.md").read_text()
    return re.findall(r"^```(diff|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


@pytest.fixture
def copy(tmp_path: Path) -> Path:
    """This repository, without what is large and is not needed."""
    ignored = shutil.ignore_patterns("__pycache__", "node_modules", "fixtures", "golden")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, tmp_path / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, tmp_path / name)
    return tmp_path


def run(command: str, folder: Path) -> None:
    """A line of a shell, in the copy: with its modules, not with those that are installed."""
    line = re.sub(r"^(pytest|intaglio)\b", rf"'{sys.executable}' -m \1", command)
    environment = os.environ | {"PYTHONPATH": str(folder), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, shell=True, cwd=folder, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"


def apply(diff: str, folder: Path) -> None:
    done = subprocess.run(["git", "apply", "-"], input=diff, cwd=folder, capture_output=True, text=True)
    assert done.returncode == 0, f"write the diff of the guide again: {done.stderr}"


@pytest.mark.parametrize("guide", GUIDES)
def test_a_guide(guide: str, copy: Path) -> None:
    found = blocks(guide)
    assert {kind for kind, _ in found} == {"diff", "sh"}
    for kind, content in found:
        if kind == "diff":
            apply(content, copy)
        else:
            for command in content.splitlines():
                run(command, copy)


def test_a_guide_that_does_not_apply(copy: Path) -> None:
    stale = next(content for kind, content in blocks("add-a-pass") if kind == "diff").replace("canonical,", "gone,")
    with pytest.raises(AssertionError, match="write the diff of the guide again"):
        apply(stale, copy)
