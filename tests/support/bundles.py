"""Bundles on disk: read whole, changed on purpose, and made to list what was changed."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.files import describe
from intaglio.runtime.plan import Plan

LISTS = (designs_file.FILE, "plan.json")  # the files that list files, the second one of them the first


def whole_plan(folder: Path) -> Plan:
    """The plan of a bundle with the variants of its steps."""
    return designs_file.read(folder, plan_file.read(folder))


def store_plan(folder: Path, plan: Plan) -> None:
    """Write a whole plan in the place of the one that a bundle has."""
    (folder / designs_file.FILE).write_text(designs_file.write(plan))
    listed = {name: file for name, file in plan.files.items() if name not in designs_file.variant_files(plan)}
    designs = {designs_file.FILE: describe((folder / designs_file.FILE).read_bytes())}
    (folder / "plan.json").write_text(plan_file.write(replace(plan, files=listed | designs)))


def shaders(folder: Path) -> list[Path]:
    """Those that steps run by default, and those of other variants."""
    return sorted(folder.glob("kernels/**/*.wgsl"))


def entry(path: Path) -> dict[str, Any]:
    """What a bundle lists of a file as it is now."""
    described = describe(path.read_bytes(), pieces=path.suffix == ".safetensors" and path.name != "golden.safetensors")
    return {key: value for key, value in asdict(described).items() if value != ()}


def accept(folder: Path, *paths: Path) -> None:
    """Let a bundle list these files as they are now."""
    changed = {str(path.relative_to(folder)): entry(path) for path in paths}
    for name in LISTS:
        if name in changed:  # and may hold anything
            continue
        data = json.loads((folder / name).read_text())
        data["files"] |= {file: described for file, described in changed.items() if file in data["files"]}
        (folder / name).write_text(json.dumps(data))
        changed[name] = entry(folder / name)
