"""The page that `inspect --html` writes: one file that contains everything and needs no network.

Names in it come from strangers' models. The page contains them only as JSON, the script shows them as text, and the
content policy in the page's head allows no other script.
"""

from __future__ import annotations

import base64
import hashlib
import json
from importlib import resources
from pathlib import Path
from typing import Any

import jinja2

from intaglio.bundle import Bundle
from intaglio.page import data
from intaglio.runtime.instruments.profile import Profile


def write(bundle: Bundle, file: Path, profile: Profile | None = None) -> None:
    """Write the page of a bundle, whole or not at all. Raises BadBundle."""
    text = render(data.page(bundle, profile))
    beside = file.with_name(f"{file.name}.partial")
    beside.write_text(text, encoding="utf-8")
    beside.replace(file)


def render(content: dict[str, Any]) -> str:
    """The HTML of the data that `data.page` returns."""
    script = _read("page.js")
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()
    template = jinja2.Template(_read("page.html"), undefined=jinja2.StrictUndefined, autoescape=True)
    return template.render(
        name=content["name"], style=_read("page.css"), script=script, digest=digest, data=_json(content)
    )


def _json(content: dict[str, Any]) -> str:
    """JSON that cannot end an HTML element or begin a comment, whatever names are in it."""
    text = json.dumps(content, separators=(",", ":"))
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _read(name: str) -> str:
    return resources.files("intaglio.page").joinpath(name).read_text(encoding="utf-8")
