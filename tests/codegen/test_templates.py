"""Templates: short lines, one name each, and a page whose examples are what they render.

`python tests/codegen/test_templates.py` writes the examples of templates/README.md again.
"""

from __future__ import annotations

import json
import re
from collections import Counter
from pathlib import Path

from intaglio.codegen.render import _environment, _templates
from intaglio.codegen.tidy import tidy

ROOT = Path(__file__).parents[2]
TEMPLATES = ROOT / "templates"
PAGE = TEMPLATES / "README.md"
EXAMPLE = re.compile(r"<!-- (golden|macro) (.+?) -->\n+(?:```wgsl\n.*?```\n*)?", re.S)


def page() -> str:
    """The page with its examples as they are now."""
    text = EXAMPLE.sub(lambda m: f"<!-- {m[1]} {m[2]} -->\n\n```wgsl\n{example(m[1], m[2])}\n```\n\n", PAGE.read_text())
    return text.rstrip() + "\n"


def example(kind: str, what: str) -> str:
    """Of a golden shader: the function, or so many lines, that begin with a text. Of lib/: what a macro renders."""
    if kind == "golden":
        path, begin = what.split(" ", 1)
        begin, count = re.fullmatch(r"(.+?)(?: (\d+))?", begin).groups()
        lines = (ROOT / "tests" / "golden" / path).read_text().split("\n")
        first = next(i for i, line in enumerate(lines) if line.strip().startswith(begin))
        last = first + int(count) if count else lines.index("}", first) + 1
        margin = len(lines[first]) - len(lines[first].lstrip())
        return "\n".join(line[margin:] for line in lines[first:last])
    path, macro, parameters = what.split(" ", 2)
    library = _environment().get_template(path).make_module(json.loads(parameters))
    return tidy(str(getattr(library, macro)())).strip()


def test_examples_are_fresh() -> None:
    assert page() == PAGE.read_text(), "python tests/codegen/test_templates.py"


def test_every_family_is_explained() -> None:
    text = PAGE.read_text()
    assert not [f.name for f in TEMPLATES.iterdir() if f.is_dir() and f.name[0] != "_" and f"| {f.name}/ |" not in text]
    assert not [p.stem for p in (TEMPLATES / "lib").iterdir() if f"lib/{p.name.split('.')[0]}" not in text]


def test_every_template_lists_its_parameters() -> None:
    assert not [path.name for path in TEMPLATES.rglob("*.jinja") if not path.read_text().startswith(("{# ", "// "))]


def test_lines_are_short() -> None:
    files = (path for path in TEMPLATES.rglob("*") if path.suffix in (".jinja", ".wgsl"))
    long = [f"{p.name}:{i}" for p in files for i, line in enumerate(p.read_text().split("\n"), 1) if len(line) > 120]
    assert not long


def test_a_name_is_one_template() -> None:
    """Kernels name templates without their families."""
    names = Counter(path.name for path in TEMPLATES.glob("*/*.jinja") if path.parent.name != "lib")
    assert not [name for name, count in names.items() if count > 1]
    assert _templates()["attention_decode"] == "attention/attention_decode.wgsl.jinja"


if __name__ == "__main__":
    PAGE.write_text(page())
