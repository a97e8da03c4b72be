"""Plain English: phrases that are hard to read at first sight occur in no error, help text or document."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
FOLDERS = ("compiler", "codegen", "runtime", "intaglio", "benchmarks", "examples")
PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs").glob("*.md"), ROOT / "templates" / "README.md"]
LONGEST = 300  # characters of an error, without what is put into it

# Phrase -> what to write instead.
HARD = {
    r"(?<!there )\b(?:is|are) no (?!longer)": "is not a",
    r"\bnot known\b(?! at compile time)": "not supported",
    r"\bas many as\b(?! take)": "up to",
    r"\bat the most\b": "up to",
    r"\b(?:is|are) wanted\b": "expected X, got Y",
    r"\b(?:is|are) told\b": "reported",
    r"\bmakes no\b": "does not make",
}


def texts(path: Path) -> Iterator[tuple[int, str]]:
    """The text of each error, and of each help or refusal, with its line. Values put into it are left out."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if (isinstance(node, ast.Raise) and node.exc is not None) or _is_message(node):
            parts = [n.value for n in ast.walk(node) if isinstance(n, ast.Constant) and isinstance(n.value, str)]
            yield node.lineno, "".join(parts)


def _is_message(node: ast.AST) -> bool:
    if not isinstance(node, ast.Call):
        return False
    name = node.func.attr if isinstance(node.func, ast.Attribute) else getattr(node.func, "id", "")
    return name in ("decline", "refuse", "add_argument")


@pytest.mark.parametrize("folder", FOLDERS)
def test_errors_and_help(folder: str) -> None:
    hard = [
        f"{path.relative_to(ROOT)}:{line}: {text!r}: {better}"
        for path in sorted((ROOT / folder).rglob("*.py"))
        for line, text in texts(path)
        for phrase, better in HARD.items()
        if re.search(phrase, text)
    ]
    assert not hard


@pytest.mark.parametrize("folder", FOLDERS)
def test_errors_are_one_short_line(folder: str) -> None:
    for path in sorted((ROOT / folder).rglob("*.py")):
        assert not [(path, line) for line, text in texts(path) if len(text) > LONGEST or "\n" in text]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_documents(page: Path) -> None:
    """Outside of tables and code, where single words may stand for themselves."""
    prose = re.sub(r"```.*?```|`[^`]*`|^\|.*$", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    assert not [(better, found) for phrase, better in HARD.items() for found in re.findall(f".*{phrase}.*", prose)]


@pytest.mark.parametrize("text", ["x is no tensor", "with y it is not known", "as many as 3", "two names are wanted"])
def test_hard_phrases_are_noticed(text: str) -> None:
    assert any(re.search(phrase, text) for phrase in HARD)


@pytest.mark.parametrize("text", ["there is no GPU", "it is not known at compile time", "is not a tensor"])
def test_plain_ones_are_not(text: str) -> None:
    assert not any(re.search(phrase, text) for phrase in HARD)
