"""The guides work: each diff of docs/add-*.md is applied to a copy of the repository, in which its tests then pass."""

from __future__ import annotations

import os
import re
import shlex
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
    for name in COPIED:
        source = ROOT / name
        if source.is_dir():
            shutil.copytree(
                source, folder / name, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", "node_modules")
            )
        else:
            shutil.copy(source, folder / name)
    return folder


def blocks(page: Path, language: str) -> list[str]:
    return re.findall(rf"```{language}\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)


@pytest.mark.parametrize("guide", GUIDES, ids=lambda guide: guide.name)
def test_its_diff_applies_and_its_tests_pass(guide: Path, tree: Path) -> None:
    patch = "".join(blocks(guide, "diff"))
    subprocess.run(["git", "apply", "-C1", "-"], cwd=tree, input=patch, text=True, check=True)
    commands = [line for block in blocks(guide, "sh") for line in block.splitlines() if line.startswith("pytest ")]
    assert commands
    for command in commands:
        done = subprocess.run(
            [sys.executable, "-m", *shlex.split(command), "-p", "no:cacheprovider"],
            cwd=tree,
            env={**os.environ, "PYTHONPATH": str(tree)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == 0, done.stdout[-3000:]
