"""Writes a model as a bundle: beside its place first, then renamed, so that a bundle is either complete or absent."""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from intaglio.codegen.bundle import report
from intaglio.codegen.bundle.assemble import Assembled, assemble
from intaglio.codegen.bundle.checkpoints import checks
from intaglio.codegen.bundle.provenance import describe as provenance
from intaglio.codegen.fuse.pipeline import fuse
from intaglio.compiler.models.model import Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.runtime import designs_file, plan_file
from intaglio.runtime.files import describe
from intaglio.runtime.instruments import golden
from intaglio.runtime.instruments import provenance as graphs
from intaglio.runtime.plan import File
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.tuning import Measurements


def check_place(out: Path) -> None:
    """Raise FileExistsError if `out` exists and is neither a bundle nor an empty folder."""
    if out.exists() and not (out / "plan.json").is_file() and not (out.is_dir() and not any(out.iterdir())):
        raise FileExistsError(f"{out} exists and is not a bundle; remove it, or choose another name")


def write(
    model: Model, out: Path, trace: Trace, progress: Progress = silent, tunings: Sequence[Measurements] = ()
) -> None:
    """Compile a model's graphs into the bundle `out`, which replaces an earlier one. Fuses the graphs in place.

    tunings: measurements of adapters, from which the bundle gets its tunings.
    Raises UnsupportedOperator, and FileExistsError if `out` exists and is neither a bundle nor an empty folder.
    """
    check_place(out)
    fuse(model.graphs, trace)
    with _replacing(out) as folder:
        _write(model, folder, trace, progress, tunings)


@contextmanager
def _replacing(out: Path) -> Iterator[Path]:
    """Yield a temporary folder, which becomes `out` if the block ends without an error and is deleted otherwise."""
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        yield building
        for path in (building, *building.rglob("*")):  # other users cannot read temporary folders
            path.chmod(0o755 if path.is_dir() else 0o644)
        if out.exists():
            old = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
            out.rename(old / out.name)
            building.rename(out)
            shutil.rmtree(old)
        else:
            building.rename(out)
    finally:
        shutil.rmtree(building, ignore_errors=True)


def _write(model: Model, folder: Path, trace: Trace, progress: Progress, tunings: Sequence[Measurements]) -> None:
    assembled = assemble(model, folder, progress)
    plan = assembled.plan
    tuned = (m.tuning(plan.alternatives.values()) for m in tunings)
    plan = replace(plan, tunings=tuple(t for t in tuned if t.variants))
    for name, text in assembled.shaders.items():
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text, encoding="utf-8")
    files: dict[str, File] = {}
    for name, content in _contents(model, assembled, trace, progress).items():
        (folder / name).write_bytes(content)
        files[name] = describe(content)
    designs = designs_file.write(plan)
    (folder / designs_file.FILE).write_text(designs, encoding="utf-8")
    files[designs_file.FILE] = describe(designs.encode())
    variants = designs_file.variant_files(plan)
    page = {name: file for name, file in plan.files.items() if name not in variants}
    (folder / "plan.json").write_text(plan_file.write(replace(plan, files=files | page)), encoding="utf-8")
    (folder / report.FILE).write_text(report.write(model, assembled, trace), encoding="utf-8")


def _contents(model: Model, assembled: Assembled, trace: Trace, progress: Progress) -> dict[str, bytes]:
    """Return the files that the plan lists, except weights, shaders and variants."""
    described = provenance(trace.models, model.graphs, assembled.dispatches)
    texts = {graphs.FILE: graphs.write(described)}
    if model.settings:
        texts["generation.json"] = json.dumps(model.settings, indent=2, ensure_ascii=False) + "\n"
    contents = model.files | {name: text.encode() for name, text in texts.items()}
    if model.golden:
        ports = (v for g in model.graphs.values() for v in (*g.inputs, *g.states))
        fixed = {v.name for v in ports if all(isinstance(d, int) for d in v.shape)}
        halves = {b.name for s in assembled.plan.storages for b in s.states.values() if b.rounded}
        runs = checks(model.golden, model.graphs, assembled.dispatches, progress, model.notes.append, halves)
        contents[golden.FILE] = golden.write(runs, fixed)
    return contents
