"""Read the JSON files that exporters write beside a model."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from intaglio.compiler.ir.errors import BadModel


def read_json(path: Path, required: bool = True) -> dict[str, Any]:
    """Return the settings in a file, or {} if it is missing.

    Raises BadModel if the file is broken, or if it is missing but required.
    """
    if not path.is_file():
        if required:
            raise BadModel(f"{path} is missing; exporters write it beside the model, so copy it there")
        return {}
    try:
        data = json.loads(path.read_text(encoding="utf-8"))
    except (ValueError, OSError) as e:
        raise BadModel(f"{path} is broken: {e}; copy the file again") from e
    if not isinstance(data, dict):
        raise BadModel(f"{path} is broken: expected a JSON object; copy the file again")
    return data
