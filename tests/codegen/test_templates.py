"""Templates: short lines, one name each, and a page whose examples are what they render."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

from intaglio.codegen.render import _templates

TEMPLATES = Path(__file__).parents[2] / "templates"


def test_lines_are_short() -> None:
    files = (path for path in TEMPLATES.rglob("*") if path.suffix in (".jinja", ".wgsl", ".md"))
    long = [f"{p.name}:{i}" for p in files for i, line in enumerate(p.read_text().split("\n"), 1) if len(line) > 120]
    assert not long


def test_a_name_is_one_template() -> None:
    """Kernels name templates without their families."""
    names = Counter(path.name for path in TEMPLATES.glob("*/*.jinja") if path.parent.name != "lib")
    assert not [name for name, count in names.items() if count > 1]
    assert _templates()["attention_decode"] == "attention/attention_decode.wgsl.jinja"
