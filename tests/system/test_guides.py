"""The guides work: the diffs of docs/add-*.md apply to a copy of the repository, in which their commands then pass."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
GUIDES = sorted((ROOT / "docs").glob("add-*.md"))
COPIED = (
    *("compiler", "codegen", "templates", "runtime", "intaglio", "tests", "docs", "examples", "benchmarks"),
    *("pyproject.toml", "README.md", "CONTRIBUTING.md", "SECURITY.md", "Makefile"),
)


@pytest.fixture
def tree(tmp_path: Path) -> Path:
    """A copy of the repository, small: what was built or installed stays behind."""
    folder = tmp_path / "intaglio"
    folder.mkdir()
    ignored = shutil.ignore_patterns("__pycache__", "node_modules")
    for name in COPIED:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, folder / name, symlinks=True, ignore=ignored)
        else:
            shutil.copy(ROOT / name, folder / name)
    return folder


def blocks(guide: Path) -> list[tuple[str, str]]:
    """The diffs and commands of a guide, in order."""
    text = guide.read_text(encoding="utf-8")
    return re.findall(r"^```(diff|sh)\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def apply(diff: str, tree: Path) -> None:
    done = subprocess.run(["git", "apply", "-C1", "-"], input=diff, cwd=tree, capture_output=True, text=True)
    assert done.returncode == 0, f"write the diff of the guide again: {done.stderr}"


def run(command: str, tree: Path) -> None:
    """A line of a shell, with the modules of the copy instead of those that are installed."""
    line = re.sub(r"^(pytest|intaglio)\b", rf"'{sys.executable}' -m \1", command)
    environment = os.environ | {"PYTHONPATH": str(tree), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(line, shell=True, cwd=tree, env=environment, capture_output=True, text=True)
    assert done.returncode == 0, f"{command}\n{done.stdout[-3000:]}{done.stderr[-2000:]}"


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_its_diffs_apply_and_its_commands_pass(guide: Path, tree: Path) -> None:
    found = blocks(guide)
    assert {kind for kind, _ in found} == {"diff", "sh"}
    for kind, content in found:
        if kind == "diff":
            apply(content, tree)
        else:
            for command in content.splitlines():
                run(command, tree)


def test_a_diff_that_does_not_apply_is_seen(tree: Path) -> None:
    guide = next(guide for guide in GUIDES if guide.name == "add-a-pass.md")
    stale = next(content for kind, content in blocks(guide) if kind == "diff").replace("    canonical,", "    gone,")
    with pytest.raises(AssertionError, match="write the diff of the guide again"):
        apply(stale, tree)
