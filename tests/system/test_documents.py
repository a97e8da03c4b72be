"""The documents: those that are generated are fresh, every link leads somewhere, and the tables match the fixtures.

`make docs` (`python tests/system/test_documents.py`) writes the generated ones again.
"""

from __future__ import annotations

import argparse
import ast
import inspect
import re
import textwrap
from collections.abc import Callable, Iterator
from pathlib import Path
from types import FunctionType
from typing import Any

import pytest

import intaglio
from intaglio.__main__ import parser
from intaglio.bundle import Bundle
from intaglio.lazy import lazy
from intaglio.runtime.instruments.verify import Result, StepResult
from intaglio.runtime.tasks.generate import Completion, Logprob, Piece
from intaglio.runtime.tasks.options import Options
from intaglio.runtime.tasks.stream import Stream
from intaglio.runtime.tasks.voice.speech import Parameters
from intaglio.runtime.tasks.whisper.live import Heard
from intaglio.runtime.tasks.whisper.options import Options as TranscribeOptions
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript
from intaglio.session import BundleSession

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
FIXTURES = ROOT / "tests" / "fixtures"
GENERATED = "<!-- written by `make docs`, from the program; a test compares them -->"
README = ROOT / "README.md"
PAGES = [README, ROOT / "CONTRIBUTING.md", ROOT / "SECURITY.md", *sorted(DOCS.glob("*.md"))]


# docs/cli.md: from the parsers


def cli() -> str:
    top = parser()
    commands = next(a for a in top._actions if isinstance(a, argparse._SubParsersAction)).choices
    lines = ["# Command line", "", GENERATED, "", f"{top.description} `intaglio COMMAND --help` prints the same."]
    for name, command in commands.items():
        lines += ["", f"## intaglio {name}", "", command.description, *_groups(command)]
    status = "0: success. 1: an error, printed as one line on standard error. 2: wrong options. 130: interrupted."
    return "\n".join([*lines, "", "## Exit status", "", status, ""])


def _groups(command: argparse.ArgumentParser) -> Iterator[str]:
    for group in command._action_groups:
        actions = [a for a in group._group_actions if not isinstance(a, argparse._HelpAction)]
        if not actions:
            continue
        title = "" if group.title in ("options", "positional arguments") else f"{group.title}"
        yield from ("", *([f"*{title}*", ""] if title else []), "| argument | meaning |", "|---|---|")
        yield from (f"| {_spelled(a)} | {_cell(a.help or '')} |" for a in actions)


def _spelled(action: argparse.Action) -> str:
    value = action.metavar or ("{" + ",".join(action.choices) + "}" if action.choices else action.dest.upper())
    names = [f"{o} {value}" if action.nargs != 0 else o for o in action.option_strings] or [value]
    return " or ".join(f"`{_cell(name)}`" for name in names)


def _cell(text: str) -> str:
    return text.replace("|", "\\|")


# docs/python.md: from the docstrings


def python() -> str:
    lines = ["# Python API", "", GENERATED, "", *_prose(intaglio)]
    lines += ["", "## Functions", *_functions("intaglio.", [getattr(intaglio, n) for n in sorted(_functions_of())])]
    lines += ["", "## Bundle", "", *_prose(Bundle), *_members(Bundle)]
    lines += [
        "",
        "## Sessions",
        "",
        *_prose(BundleSession),
        "",
        "A bundle has the same calls.",
        *_members(BundleSession),
    ]
    options = (
        ("transcribe and listen", TranscribeOptions),
        ("voice activity", Parameters),
        ("generate and chat", Options),
    )
    for calls, of in options:
        lines += ["", f"## Options of {calls}", "", *_prose(of), *_fields(of)]
    lines += ["", "## Results"]
    for result in (Transcript, Segment, Heard, Completion, Piece, Stream, Logprob, Result, StepResult):
        lines += ["", f"### {result.__name__}", "", *_prose(result), *_fields(result)]
    lines += ["", "## Errors", "", "All are in the module `intaglio`.", ""]
    for name in sorted({"BadBundle", "NoCompiler", *intaglio._LATER}):
        error = getattr(intaglio, name)
        lines.append(f"- `{name}` ({error.__mro__[1].__name__}): {' '.join(_paragraphs(error)[0])}")
    return "\n".join([*lines, ""])


def _functions_of() -> list[str]:
    return [name for name in intaglio.__all__ if isinstance(getattr(intaglio, name), FunctionType)]


def _functions(prefix: str, functions: list[Callable[..., Any]]) -> Iterator[str]:
    for function in functions:
        yield from ("", "```python", _signature(prefix, function), "```", "", *_prose(function))


def _members(of: type) -> Iterator[str]:
    """The public methods and properties that the class itself defines, in the order of the source."""
    for name, member in vars(of).items():
        if name.startswith("_") or name in ("replays", "whole_plan"):
            continue
        if isinstance(member, FunctionType):
            yield from _functions(f"{of.__name__.replace('BundleSession', 'session').lower()}.", [member])
        elif isinstance(member, property | lazy):
            compute = member.fget if isinstance(member, property) else member._compute
            kind = compute.__annotations__["return"]
            prefix = "session" if of is BundleSession else "bundle"
            yield from ("", "```python", f"{prefix}.{name}: {kind}", "```", "", *_prose(compute))


def _fields(of: type) -> Iterator[str]:
    fields = [n for n in ast.parse(textwrap.dedent(inspect.getsource(of))).body[0].body if isinstance(n, ast.AnnAssign)]
    if fields:
        yield from ("", "```python", *(ast.unparse(field).replace("'", '"') for field in fields), "```")


def _signature(prefix: str, function: Callable[..., Any]) -> str:
    """The definition as the source has it, on one line or with a line for each parameter."""
    (node,) = ast.parse(textwrap.dedent(inspect.getsource(function))).body
    arguments = node.args
    parts = [ast.unparse(a) for a in arguments.args if a.arg != "self"]
    for i, default in enumerate(reversed(arguments.defaults), 1):
        parts[-i] += f" = {ast.unparse(default)}"
    parts += ["*"] * bool(arguments.kwonlyargs)
    for argument, default in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        parts.append(ast.unparse(argument) + (f" = {ast.unparse(default)}" if default is not None else ""))
    parts += [f"**{ast.unparse(arguments.kwarg)}"] if arguments.kwarg else []
    head, tail = f"{prefix}{node.name}(", f") -> {ast.unparse(node.returns)}"
    line = head + ", ".join(parts) + tail
    text = line if len(line) <= 100 else "\n".join([head, *(f"    {part}," for part in parts), tail])
    return text.replace("'", '"')


def _prose(of: Any) -> list[str]:
    """The docstring: paragraphs, and a list item for each line that begins with the name of a parameter."""
    lines: list[str] = []
    for paragraph in _paragraphs(of):
        lines += [""] * bool(lines)
        for line in paragraph:
            item = re.match(r"([a-z_]+(?:, [a-z_]+)*): (.*)", line)
            if item:
                lines.append(f"- **{item[1]}**: {item[2]}")
            elif line.startswith("Raises ") and lines and lines[-1].startswith(("- ", "  ")):
                lines += ["", line]
            else:
                lines.append(f"  {line}" if lines and lines[-1].startswith(("- ", "  ")) else line)
    return lines


def _paragraphs(of: Any) -> list[list[str]]:
    return [paragraph.splitlines() for paragraph in (inspect.getdoc(of) or "").split("\n\n")]


DOCUMENTS = {"cli.md": cli, "python.md": python, "operators.md": intaglio.operators}


@pytest.mark.parametrize("name", DOCUMENTS)
def test_generated_documents_are_fresh(name: str) -> None:
    assert (DOCS / name).read_text(encoding="utf-8") == DOCUMENTS[name](), "run `make docs`"


def test_public_names_have_docstrings() -> None:
    assert "\n```\n\n\n" not in python()


# the table of models in the README: from the names of the fixtures

NAMES = {
    "whisper": "Whisper",
    "llama": "Llama",
    "llama3": "Llama 3",
    "mistral": "Mistral",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "gemma2": "Gemma 2",
    "gemma3": "Gemma 3",
    "phi": "Phi-2",
    "phi3": "Phi-3",
    "phi3-long": "Phi-3 (long context)",
    "gpt2": "GPT-2",
    "gptj": "GPT-J",
    "gpt-neox": "GPT-NeoX",
    "codegen": "CodeGen",
    "stablelm": "StableLM",
    "cohere": "Cohere Command",
    "cohere-norms": "Cohere Command R+",
    "bloom": "Bloom",
    "mpt": "MPT",
    "t5": "T5 (the decoder alone)",
    "opt": "OPT",
}
EXPORTERS = {
    "Optimum": r"(?:optimum|split|merged|external)(?:-(\d+))?",
    "torch dynamo": r"dynamo(?:-no-past)?-(\d+)",
    "ONNX Runtime GenAI": "genai()",
    "ONNX Runtime optimizer": "optimizer()",
}
STORED = {
    "f16": "f16",
    "f16, with f16 inputs": "f16-io",
    "bf16": "bf16|dynamo-bf16",
    "8 bits, dynamic": "int8|uint8-channels",
    "8 bits, QDQ": "qdq(-attention)?(-channels)?|qdq-all|qdq-but-masks",
    "4 bits, QDQ": "qdq-u?int4",
    "4 bits, MatMulNBits": r"q4(-\d+)?|q4f16",
    "8 bits, MatMulNBits": "q8",
    "GenAI f16": "genai-f16",
    "GenAI int4": "genai-int4(-f16)?",
}
FIRST, LAST = "<!-- models: written by `make docs` from tests/fixtures -->\n", "<!-- end of models -->"


def models() -> str:
    """Which kinds of models were exported by what, and which of them are also tested in fewer bits."""
    exports = dict(map(_fixture, sorted(p.name for p in FIXTURES.iterdir() if p.is_dir() and p.name not in OTHERS)))
    rows: dict[str, list[str]] = {}
    for kind, name in NAMES.items():
        matches = [[re.fullmatch(p, how) for k, how in exports.values() if k == kind] for p in EXPORTERS.values()]
        cells = (", ".join(sorted({_opset(m) for m in column if m}, key=_order)) for column in matches)
        rows.setdefault(" | ".join(cells), []).append(name)
    lines = [f"| model | {' | '.join(EXPORTERS)} |", "|---" * (1 + len(EXPORTERS)) + "|"]
    lines += [f"| {', '.join(names)} | {cells} |" for cells, names in rows.items()]
    lines += ["", f"| quantized in the file as | {' | '.join(QUANTIZED)} |", "|---" * (1 + len(QUANTIZED)) + "|"]
    for name, pattern in STORED.items():
        kinds = {k for k, how in exports.values() if re.fullmatch(pattern, how)}
        cells = ("yes" if kind in kinds else "" for kind in QUANTIZED.values())
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def _opset(match: re.Match[str]) -> str:
    """The opset in the name of a fixture; without one the exporter chose, or has no choice."""
    return match[1] or ("default" if "optimum" in match[0] else "yes")


def _order(opset: str) -> tuple[bool, int]:
    return not opset.isdigit(), int(opset) if opset.isdigit() else 0


OTHERS = {"audio", "bert-optimizer", "embeds", "encoders", "subtitles", "transcripts", "voice"} | {
    p.name for p in FIXTURES.iterdir() if p.name[:4] in ("cnn-", "mlp-")
}
QUANTIZED = {"Whisper": "whisper", "Llama": "llama", "GPT-2": "gpt2"}


def _fixture(name: str) -> tuple[str, tuple[str, str]]:
    """The kind of model, and how it was exported or quantized."""
    kind = max((k for k in NAMES if name.startswith(f"{k}-")), key=len)
    return name, (kind, name.removeprefix(f"{kind}-"))


def readme() -> str:
    before, _, rest = README.read_text(encoding="utf-8").partition(FIRST)
    return before + FIRST + models() + LAST + rest.partition(LAST)[2]


def test_the_table_of_models_is_fresh() -> None:
    assert README.read_text(encoding="utf-8") == readme(), "run `make docs`"


def test_every_fixture_is_in_the_table() -> None:
    """Whether as an exporter's or in fewer bits: a new kind needs a row."""
    for path in FIXTURES.iterdir():
        if path.is_dir() and path.name not in OTHERS:
            kind, how = _fixture(path.name)[1]
            quantized = any(re.fullmatch(p, how) for p in STORED.values()) and kind in QUANTIZED.values()
            assert quantized or any(re.fullmatch(p, how) for p in EXPORTERS.values()), path.name


def test_the_readme_is_short() -> None:
    assert len(README.read_text(encoding="utf-8").splitlines()) <= 150


# links and paths


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    """Files beside the page exist, and so do the headings that links name."""
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text(encoding="utf-8")):
        if "://" in target:
            continue
        file, _, heading = target.partition("#")
        path = page.parent / file if file else page
        assert path.exists(), target
        assert not heading or heading in _headings(path), target


def _headings(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", page.read_text(encoding="utf-8"), re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", title.lower()).replace(" ", "-") for title in titles}


def test_every_document_is_linked_from_the_readme() -> None:
    readme = PAGES[0].read_text(encoding="utf-8")
    assert not [page.name for page in PAGES[1:] if f"{page.name})" not in readme]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_paths_exist(page: Path) -> None:
    """Files and folders of the repository that a page names."""
    tops = "compiler|codegen|templates|runtime|intaglio|tests|docs|examples|benchmarks"
    named = re.findall(rf"`((?:{tops})/[\w./-]*)`", page.read_text(encoding="utf-8"))
    assert not [path for path in named if "NAME" not in path and not (ROOT / path).exists()]


if __name__ == "__main__":
    for document, text in DOCUMENTS.items():
        (DOCS / document).write_text(text(), encoding="utf-8")
    README.write_text(readme(), encoding="utf-8")
