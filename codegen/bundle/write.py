"""Emit: graphs become a bundle. Written beside its place and renamed, so that a bundle is whole or not there."""

from __future__ import annotations

import hashlib
import json
import shutil
import tempfile
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from safetensors.numpy import save_file

from intaglio.codegen.bundle.checkpoints import Checkpoint, checkpoints
from intaglio.codegen.bundle.provenance import describe
from intaglio.codegen.fuse.pipeline import fuse
from intaglio.codegen.kernel import MAX_BINDING, Groups, Kernel, Weight, stored
from intaglio.codegen.lower import Dispatch, lower, symbols
from intaglio.codegen.memory import Slots, Use
from intaglio.codegen.render import Renderer, Shader, flops
from intaglio.codegen.storage import Root, Storage, buffer, identity, numbers, texel_format, texture, textures
from intaglio.codegen.weights import WeightStore
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph, Value
from intaglio.compiler.models.model import Check, Model
from intaglio.compiler.passes.pipeline import Trace
from intaglio.runtime import limits, plan_file
from intaglio.runtime import plan as plans
from intaglio.runtime.instruments import provenance as graphs
from intaglio.runtime.plan import Buffer, Choice, Plan, Program, Step
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.sizes import Grid
from intaglio.runtime.tuning import Measured


def write(
    model: Model,
    out: Path,
    trace: Trace,
    say: Progress = silent,
    tunings: Sequence[Measured] = (),
) -> None:
    """Compile a model's graphs into the bundle `out`, replacing a bundle that is there. `tunings`: for adapters.

    The graphs are fused in place.

    Raises UnsupportedOperator, and ValueError if `out` is something else than a bundle.
    """
    if out.exists() and not (out / "plan.json").is_file() and (not out.is_dir() or any(out.iterdir())):
        raise ValueError(f"{out} exists and is no bundle; choose another name")
    out.parent.mkdir(parents=True, exist_ok=True)
    building = Path(tempfile.mkdtemp(prefix=f".{out.name}.", dir=out.parent))
    try:
        fuse(model.graphs, trace)
        _Bundle(building, model, say).write(trace, tunings)
        for path in (building, *building.rglob("*")):  # temporary folders and safetensors are closed to others
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


@dataclass(frozen=True)
class _Slot:
    """Scratch memory whose size is known only when every program has been laid out."""

    pool: str
    index: int


class _Bundle:
    def __init__(self, folder: Path, model: Model, say: Progress) -> None:
        self.folder, self.model, self.say = folder, model, say
        self.programs = {name: lower(graph) for name, graph in model.graphs.items()}
        found = {k: v for g in model.graphs.values() for k, v in symbols(g).items()}
        self.symbols = dict(sorted(found.items()))
        self.renderer = Renderer(list(self.symbols))
        self.store = WeightStore(folder)
        self.buffers: list[Buffer] = []
        self.named: dict[str, int] = {}
        self.weights: dict[tuple[str, str], int] = {}
        self.pools = {"buffer": Slots(), "texture": Slots()}
        self.files: dict[str, str] = {}
        self.choices: dict[str, Choice] = {}
        self.shared = {v for g in model.graphs.values() for v in (*g.inputs, *g.states, *g.outputs)}
        self.textures = textures(self.programs.values(), self.shared)

    def write(self, trace: Trace, tunings: Sequence[Measured]) -> None:
        (self.folder / "kernels").mkdir()
        steps = {name: self._steps(name) for name in self.programs}
        self.store.flush()
        slots: dict[_Slot, int] = {}
        for pool, of in self.pools.items():
            for i, size in enumerate(of.sizes):
                slots[_Slot(pool, i)] = len(self.buffers)
                self.buffers.append(
                    self._sized("scratch", texture(size // 4) if pool == "texture" else buffer(size // 4))
                )
        self._texts()
        self._file(graphs.FILE, graphs.write(describe(trace.models, self.model.graphs, self.programs)))
        plan = Plan(
            self.model.kind,
            self.symbols,
            {s.name: plans.Kernel(f, self.files[f], s.access, s.uniform, s.needs) for f, s in self._shader_files()},
            tuple(self.buffers),
            {
                name: Program(
                    {v.name: self.named[v.name] for v in self.model.graphs[name].inputs},
                    {v.name: self.named[v.name] for v in self.model.graphs[name].outputs},
                    tuple(replace(step, buffers=tuple(slots.get(b, b) for b in step.buffers)) for step in made),
                )
                for name, made in steps.items()
            },
            self.files | self.store.files,
            tuple(t for t in (m.tuning(self.choices.values()) for m in tunings) if t.choices),
        )
        self._file("report.json", json.dumps(self._report(plan, trace), indent=2) + "\n")
        (self.folder / "plan.json").write_text(plan_file.write(plan), encoding="utf-8")

    def _steps(self, program: str) -> list[Step]:
        """The steps of a program, with slots where buffers will be."""
        graph, dispatches = self.model.graphs[program], self.programs[program]
        for value in (*graph.inputs, *graph.states, *graph.outputs):
            self._name(graph, value)
        slots = self._scratch(dispatches)
        result = []
        for i, dispatch in enumerate(dispatches, 1):
            kernel = dispatch.kernel
            storage = {name: self._storage(place.root) for name, place in dispatch.places.items()}
            shaders = {
                k.design: self.renderer.shader(program, replace(dispatch, kernel=k), storage).name
                for k in (kernel, *kernel.others)
            }
            choice = None
            if kernel.others:
                others = {k.design: (shaders[k.design], _grid(k)) for k in kernel.others}
                choice = self.choices[kernel.case] = Choice(kernel.case, kernel.design, others)
            buffers = tuple(self._buffer(p.root, slots) for p in dispatch.places.values())
            result.append(Step(shaders[kernel.design], buffers, _grid(kernel), choice))
            self.say(f"{program}: kernels and weights", i, len(dispatches))
        return result

    # buffers

    def _storage(self, root: Root) -> Storage:
        count = numbers(root)
        if identity(root, self.shared) in self.textures:
            return texture(count, texel_format(root, self.shared))
        result = buffer(count)
        if result.bytes > MAX_BINDING:
            raise UnsupportedOperator(
                f"{root.value if isinstance(root, Weight) else root} takes more bytes than a binding may have"
            )
        return result

    def _sized(self, kind: str, storage: Storage, **described: Any) -> Buffer:
        return Buffer(kind, storage.bytes, texture=storage.texture or (), format=storage.format, **described)

    def _name(self, graph: Graph, value: Value) -> None:
        """A buffer for a value that users see; programs that use the same name share it."""
        kind = "state" if value in graph.states else "input" if value in graph.inputs else "output"
        shape = tuple(d if isinstance(d, int) else str(d) for d in value.shape)
        if value.name not in self.named:
            self.named[value.name] = len(self.buffers)
            storage = self._storage(value)
            self.buffers.append(self._sized(kind, storage, name=value.name, dtype=value.dtype, shape=shape))
        elif (known := self.buffers[self.named[value.name]]).shape != shape or known.dtype != value.dtype:
            raise ValueError(
                f"{value.name} is {known.dtype}{known.shape} in one program and {value.type} in {graph.name}"
            )

    def _scratch(self, dispatches: list[Dispatch]) -> dict[Value, _Slot]:
        roots = {p.root for d in dispatches for p in d.places.values() if isinstance(p.root, Value)}
        storage = {v: self._storage(v) for v in roots if v not in self.shared}
        uses = [Use(tuple(p.root for p in d.reads), tuple(p.root for p in d.writes)) for d in dispatches]
        result: dict[Value, _Slot] = {}
        for pool, slots in self.pools.items():
            sizes = {v: s.bytes for v, s in storage.items() if (s.texture is not None) == (pool == "texture")}
            result |= {v: _Slot(pool, i) for v, i in slots.assign(uses, sizes).items()}
        return result

    def _buffer(self, root: Root, slots: dict[Value, _Slot]) -> int | _Slot:
        if isinstance(root, Weight):
            return self._weight(root, self._storage(root))
        return slots[root] if root in slots else self.named[root.name]

    def _weight(self, weight: Weight, storage: Storage) -> int:
        file, name, _ = self.store.add(weight, storage.texture is not None)
        key = file, name
        if key not in self.weights:
            self.weights[key] = len(self.buffers)
            self.buffers.append(self._sized("weight", storage, name=name, file=file))
        return self.weights[key]

    # files

    def _file(self, name: str, content: str | bytes) -> None:
        data = content.encode("utf-8") if isinstance(content, str) else content
        (self.folder / name).write_bytes(data)
        self.files[name] = hashlib.sha256(data).hexdigest()

    def _shader_files(self) -> list[tuple[str, Shader]]:
        return [(f"kernels/{s.name}.wgsl", s) for s in self.renderer.shaders.values()]

    def _texts(self) -> None:
        for name, shader in self._shader_files():
            self._file(name, shader.text)
        for name, content in self.model.files.items():
            self._file(name, content)
        if self.model.settings:
            self._file("generation.json", json.dumps(self.model.settings, indent=2, ensure_ascii=False) + "\n")
        if self.model.checks:
            self.say("golden values", 0, 0)
            steps = checkpoints(self.model.checks, self.model.graphs, self.programs)
            seen = (v for g in self.model.graphs.values() for v in (*g.inputs, *g.states))
            fixed = {v.name for v in seen if all(isinstance(d, int) for d in v.shape)}
            save_golden(self.model.checks, steps, fixed, self.folder / "golden.safetensors")
            self.files["golden.safetensors"] = hashlib.sha256(
                (self.folder / "golden.safetensors").read_bytes()
            ).hexdigest()

    def _report(self, plan: Plan, trace: Trace) -> dict[str, Any]:
        return {
            "kind": plan.kind,
            "precision": self.model.precision,
            "dispatches": {name: len(p.steps) for name, p in plan.programs.items()},
            "dispatches_per_token": len(plan.programs["step"].steps) if "step" in plan.programs else None,
            "kernels": len(plan.used),
            "kernels_of_other_designs": len(plan.kernels) - len(plan.used),
            "flops": {name: flops(dispatches) for name, dispatches in self.programs.items()},
            "bytes": {
                "weights": plan.bytes_of("weight"),
                "cache": plan.bytes_of("state"),
                "scratch": plan.bytes_of("scratch"),
                "inputs_and_outputs": plan.bytes_of("input") + plan.bytes_of("output"),
                "uniform": plan.uniform_bytes,
                "staging": limits.STAGING,
                "total": plan.bytes,
            },
            "notes": self.model.notes,
            "passes": trace.rows,
        }


def save_golden(checks: list[Check], steps: Iterable[list[Checkpoint]], fixed: set[str], path: Path) -> None:
    """golden.safetensors: for check i inputs "i.in.NAME", flat indices "i.at.NAME" and the values there "i.is.NAME".

    Of inputs in `fixed`, whose sizes the plan tells, what repeats at the end of the last axis is left out.
    What the steps write follows in one piece, "i.steps.at" and "i.steps.is", in which [step, binding, count] are told.
    """
    tensors: dict[str, np.ndarray] = {}
    listed = []
    for i, (check, found) in enumerate(zip(checks, steps, strict=True)):
        tensors |= {f"{i}.steps.at": _joined([at for *_, at, _ in found]).astype(np.uint32)}
        tensors |= {f"{i}.steps.is": _joined([values for *_, values in found]).astype(np.float64)}
        inputs = {name: _plain(array) for name, array in check.inputs.items()}
        tensors |= {f"{i}.in.{n}": _trimmed(a) if n in fixed else a for n, a in inputs.items()}
        for name, (indices, values) in check.expected.items():
            tensors |= {f"{i}.at.{name}": indices, f"{i}.is.{name}": _plain(values)}
        listed.append(
            {
                "program": check.program,
                "symbols": check.symbols,
                "inputs": list(check.inputs),
                "expected": list(check.expected),
                "steps": [[step, binding, len(at)] for step, binding, at, _ in found],
            }
        )
    save_file(tensors, path, metadata={"checks": json.dumps(listed)})


def _plain(array: np.ndarray) -> np.ndarray:
    """An array of a type that numpy has."""
    return np.asarray(array if array.dtype.kind != "V" else stored(array), order="C")


def _trimmed(array: np.ndarray) -> np.ndarray:
    """An array whose last axis ends where nothing but repetitions follow."""
    if not array.size or not array.ndim:
        return array
    changes = np.flatnonzero((array != array[..., -1:]).reshape(-1, array.shape[-1]).any(0))
    return np.ascontiguousarray(array[..., : changes.max(initial=-1) + 2])


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])


def _grid(kernel: Kernel) -> Grid:
    return tuple(map(_count, (*kernel.grid, Groups(()), Groups(()))[:3]))


def _count(groups: Groups) -> int | dict[str, Any]:
    if all(isinstance(d, int) for d in groups.of):
        return groups.at(int)
    return {"of": [d if isinstance(d, int) else str(d) for d in groups.of], "per": groups.per}
