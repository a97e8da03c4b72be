"""Assembles graphs into a plan, which has a step for every dispatch and a buffer for every tensor.

A step has a shader for each of its variants. Weights are written as soon as they are laid out, so that memory never
holds two copies of all.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from intaglio.codegen import names as naming
from intaglio.codegen import stored
from intaglio.codegen.kernel import Groups, Kernel, Operand, Weight
from intaglio.codegen.lower import Dispatch, Place, lower, symbols
from intaglio.codegen.memory import Slots, Use
from intaglio.codegen.render import Renderer
from intaglio.codegen.shader import Shader
from intaglio.codegen.storage import Root, Storage, buffer, identity, numbers, texel_format, texture, textures
from intaglio.codegen.target import MAX_BINDING
from intaglio.codegen.weights import WeightStore, weight_identity
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.dims import Symbol
from intaglio.compiler.ir.errors import UnsupportedOperator
from intaglio.compiler.ir.graph import Graph
from intaglio.compiler.ir.values import Value
from intaglio.compiler.models.model import Model
from intaglio.runtime import plan as plans
from intaglio.runtime.adapter_class import CLASSES
from intaglio.runtime.designs_file import FOLDER
from intaglio.runtime.files import describe
from intaglio.runtime.limits import TEXELS, WORD
from intaglio.runtime.plan import Alternatives, Buffer, Choice, File, Part, Plan, Program, Step
from intaglio.runtime.progress import Progress, silent
from intaglio.runtime.sizes import Grid, Rule


@dataclass(frozen=True)
class Assembled:
    """A plan, and what it was made from.

    plan: its files are weights and shaders only. shaders: their texts by file name. dispatches: the dispatch of each
    step, by program.
    """

    plan: Plan
    shaders: dict[str, str]
    dispatches: dict[str, list[Dispatch]]


def assemble(model: Model, folder: Path, progress: Progress) -> Assembled:
    """Return the plan of a model, and write its weight files into `folder`. Raises UnsupportedOperator."""
    return _Assembly(model, folder, progress).assembled()


_Codes = dict[str, tuple[str, ...]]  # variant -> codes of the shaders of its dispatches


def check(model: Model) -> None:
    """Raise UnsupportedOperator if `assemble` would, without writing anything."""
    _Assembly(model, Path(), silent).check()


@dataclass(frozen=True)
class _Slot:
    """Scratch memory, whose size is known only after every program is laid out."""

    pool: str
    index: int


@dataclass(frozen=True)
class _Pending:
    """A step that still has slots instead of scratch buffers, and code instead of kernel names."""

    step: Step
    buffers: tuple[int | _Slot, ...]


class _Assembly:
    def __init__(self, model: Model, folder: Path, progress: Progress) -> None:
        self._model, self._progress = model, progress
        self._dispatches = {name: lower(graph) for name, graph in model.graphs.items()}
        self._symbols = _symbols(model.graphs, self._dispatches)
        self._renderer = Renderer(list(self._symbols))
        self._store = WeightStore(folder)
        self._buffers: list[Buffer] = []
        self._named: dict[str, int] = {}
        self._weights: dict[str, int] = {}
        self._pools = {"buffer": Slots(), "texture": Slots()}
        self._shared = {v for g in model.graphs.values() for v in (*g.inputs, *g.states, *g.outputs)}
        self._textures = textures(self._dispatches.values(), self._shared)
        self._caches = stored.caches((v for g in model.graphs.values() for v in g.states), self._textures)
        self._stored = {name: [stored.in_buffers(d, self._caches) for d in of] for name, of in self._dispatches.items()}
        self._unstored = self._weight_sizes()
        self._variant_scratch: list[int] = []  # bytes of each
        self._weight_bytes, self._all_weight_bytes = 0, sum(self._unstored.values())

    def check(self) -> None:
        """Check the sizes of what the kernels read and write; the kernels themselves were made before."""
        for dispatch in (d for of in self._dispatches.values() for d in of):
            for place in dispatch.places.values():
                self._storage(place.root)

    def assembled(self) -> Assembled:
        rendered = self._rendered()
        alternatives = {name: [d and self._alternatives(name, d) for d in of] for name, of in self._stored.items()}
        steps = {name: self._steps(name, rendered) for name in self._dispatches}
        self._store.flush()
        slots, shaders = self._scratch_buffers(), list(self._renderer.shaders.values())
        names = dict(zip((s.code for s in shaders), naming.names(shaders), strict=True))
        programs = {
            name: Program(
                {v.name: self._named[v.name] for v in self._model.graphs[name].inputs},
                {v.name: self._named[v.name] for v in self._model.graphs[name].outputs},
                tuple(_settled(step, slots, names) for step in of),
            )
            for name, of in steps.items()
        }
        kernels, texts = _kernels(shaders, names)
        files: dict[str, File] = {name: describe(text.encode()) for name, text in texts.items()} | self._store.files
        ranges = {s.name: (s.low, s.high) for s in self._symbols.values()}
        plan = Plan(
            self._model.kind,
            ranges,
            kernels,
            tuple(self._buffers),
            programs,
            files,
            rules={s.name: _rule(s.rule) for s in self._symbols.values() if s.rule},
            scratch=tuple(self._variant_scratch),
            classes=CLASSES,
            storages=self._storages(alternatives, names),
            profiles=_profiles(
                d.kernel for of in (*self._dispatches.values(), *self._stored.values()) for d in of if d
            ),
        )
        return Assembled(plan, texts, self._dispatches)

    def _rendered(self) -> dict[str, list[_Codes]]:
        """Return the codes of every step's shaders, by program."""
        total, result = sum(map(len, self._dispatches.values())), {}
        done = itertools.count(1)
        for program, dispatches in self._dispatches.items():
            result[program] = []
            for dispatch in dispatches:
                result[program].append(self._codes(program, dispatch, dispatch.kernel.variant))
                self._progress("kernels", next(done), total)
        return result

    def _codes(self, program: str, dispatch: Dispatch, own: str | None) -> _Codes:
        """Return the codes of the shaders of every variant. own: the variant that the plan itself runs, if any."""

        def code(part: Kernel) -> str:
            places = {name: dispatch.places.get(name) or Place(operand) for name, operand in part.operands.items()}
            storage = {name: self._variant_storage(part, name, place.root) for name, place in places.items()}
            variant = replace(dispatch, kernel=part, places=places)
            return self._renderer.shader(program, variant, storage, part.variant != own).code

        return {k.variant: tuple(map(code, k.chain)) for k in (dispatch.kernel, *dispatch.kernel.others)}

    def _variant_storage(self, kernel: Kernel, name: str, root: Root) -> Storage:
        """Return how a variant's operand is stored. A texture that it reads as a buffer keeps its texels' format."""
        storage = self._storage(root)
        if name not in kernel.buffers:
            return storage
        return self._as_buffer(storage) if isinstance(root, Value) else replace(storage, texture=None)

    def _as_buffer(self, cache: Storage) -> Storage:
        """Return how a cache is stored as a buffer."""
        assert cache.texture is not None
        width, height = cache.texture
        format = stored.format(cache.format, self._model.half_caches)
        return Storage(width * height * TEXELS[format or cache.format], format=format)

    def _steps(self, program: str, rendered: Mapping[str, Sequence[_Codes]]) -> list[_Pending]:
        graph, dispatches = self._model.graphs[program], self._dispatches[program]
        for value in (*graph.inputs, *graph.states, *graph.outputs):
            self._name(graph, value)
        slots = self._scratch(dispatches)
        return [self._step(d, codes, slots) for d, codes in zip(dispatches, rendered[program], strict=True)]

    def _step(self, dispatch: Dispatch, codes: _Codes, slots: dict[Root, _Slot]) -> _Pending:
        kernel = dispatch.kernel
        (code,) = codes[kernel.variant]
        others = {k.variant: self._parts(dispatch, k, codes[k.variant]) for k in kernel.others}
        alternatives = Alternatives(kernel.problem, kernel.variant, others) if others else None
        buffers = tuple(self._buffer(p.root, slots) for p in dispatch.places.values())
        return _Pending(Step(code, (), _grid(kernel), alternatives), buffers)

    def _alternatives(self, program: str, dispatch: Dispatch) -> Alternatives:
        """Return the variants of a dispatch whose own one the plan does not run, with codes instead of kernel names."""
        kernel, codes = dispatch.kernel, self._codes(program, dispatch, None)
        variants = {k.variant: self._parts(dispatch, k, codes[k.variant]) for k in (kernel, *kernel.others)}
        return Alternatives(kernel.problem, kernel.variant, variants)

    def _storages(
        self, alternatives: Mapping[str, Sequence[Alternatives | None]], names: Mapping[str, str]
    ) -> tuple[plans.Storage, ...]:
        """Return how classes of adapters store caches, where they are not textures."""
        states = {i: self._buffers[i] for name, i in self._named.items() if name in self._caches}
        steps = {
            name: tuple(of and Step("", (), (), _named(of, names)) for of in each)
            for name, each in alternatives.items()
        }
        buffers = {i: self._stored_state(b) for i, b in states.items()}
        return (plans.Storage(stored.CLASSES, buffers, steps),) if states else ()

    def _stored_state(self, state: Buffer) -> Buffer:
        """Return a cache that is a buffer instead of a texture."""
        storage = self._as_buffer(Storage(state.bytes, state.texture or None, state.format))
        return replace(state, bytes=storage.bytes, texture=(), format=storage.format)

    def _parts(self, dispatch: Dispatch, variant: Kernel, codes: Sequence[str]) -> tuple[Part, ...]:
        """Return the dispatches of a variant, with codes instead of kernel names."""
        places, own = list(dispatch.places), dict[str, int]()

        def binding(part: Kernel, name: str, operand: Operand) -> int | str:
            if name in dispatch.places:
                place = places.index(name)
                return f"buffer {place}" if name in part.buffers and isinstance(operand, Weight) else place
            slot = own.setdefault(name, len(own))
            self._variant_scratch += [0] * (slot + 1 - len(self._variant_scratch))
            self._variant_scratch[slot] = max(self._variant_scratch[slot], self._storage(operand).bytes)
            return f"scratch {slot}"

        return tuple(
            Part(code, tuple(binding(part, *operand) for operand in part.operands.items()), _grid(part))
            for part, code in zip(variant.chain, codes, strict=True)
        )

    # buffers

    def _scratch_buffers(self) -> dict[_Slot, int]:
        """Add a buffer for each slot, and return their indices."""
        slots: dict[_Slot, int] = {}
        for pool, of in self._pools.items():
            for i, size in enumerate(of.sizes):
                slots[_Slot(pool, i)] = len(self._buffers)
                storage = texture(size // 4) if pool == "texture" else buffer(size // 4)
                self._buffers.append(self._sized("scratch", storage))
        return slots

    def _storage(self, root: Root) -> Storage:
        count = numbers(root)
        if identity(root, self._shared) in self._textures:
            return texture(count, texel_format(root, self._shared))
        result = buffer(count)
        if result.bytes > MAX_BINDING:
            raise UnsupportedOperator(
                f"{root.value if isinstance(root, Weight) else root} needs {result.bytes} bytes, "
                f"more than the {MAX_BINDING} of a storage binding"
            )
        return result

    def _sized(self, kind: str, storage: Storage, **described: Any) -> Buffer:
        return Buffer(kind, storage.bytes, texture=storage.texture or (), format=storage.format, **described)

    def _name(self, graph: Graph, value: Value) -> None:
        """Add a buffer for a value that users see. Programs that use the same name share the buffer."""
        kind = "state" if value in graph.states else "input" if value in graph.inputs else "output"
        shape = tuple(map(dims.written, value.shape))
        if value.name not in self._named:
            self._named[value.name] = len(self._buffers)
            storage = self._storage(value)
            self._buffers.append(self._sized(kind, storage, name=value.name, dtype=value.dtype, shape=shape))
        elif (earlier := self._buffers[self._named[value.name]]).shape != shape or earlier.dtype != value.dtype:
            raise ValueError(
                f"{value.name} is {earlier.dtype}{earlier.shape} in one program and {value.type} in {graph.name}"
            )

    def _scratch(self, dispatches: list[Dispatch]) -> dict[Root, _Slot]:
        roots = {p.root for d in dispatches for p in d.places.values() if isinstance(p.root, Value)}
        storage: dict[Root, Storage] = {v: self._storage(v) for v in roots if v not in self._shared}
        uses = [Use(tuple(p.root for p in d.reads), tuple(p.root for p in d.writes)) for d in dispatches]
        result: dict[Root, _Slot] = {}
        for pool, slots in self._pools.items():
            sizes = {v: s.bytes for v, s in storage.items() if (s.texture is not None) == (pool == "texture")}
            result |= {v: _Slot(pool, i) for v, i in slots.assign(uses, sizes).items()}
        return result

    def _buffer(self, root: Root, slots: dict[Root, _Slot]) -> int | _Slot:
        if isinstance(root, Weight):
            return self._weight(root, self._storage(root))
        return slots[root] if root in slots else self._named[root.name]

    def _weight_sizes(self) -> dict[tuple[Any, ...], int]:
        """Return the bytes of every weight."""
        places = (p for dispatches in self._dispatches.values() for d in dispatches for p in d.places.values())
        return {weight_identity(p.root): self._storage(p.root).bytes for p in places if isinstance(p.root, Weight)}

    def _weight(self, weight: Weight, storage: Storage) -> int:
        row = storage.texture[0] * TEXELS[storage.format] if storage.texture else WORD
        stored = self._store.add(weight, row)
        self._weight_bytes += self._unstored.pop(weight_identity(weight), 0)
        self._progress("weights", self._weight_bytes, self._all_weight_bytes)
        if stored.name not in self._weights:
            self._weights[stored.name] = len(self._buffers)
            self._buffers.append(self._sized("weight", storage, name=stored.name, files=stored.files))
        return self._weights[stored.name]


def _settled(pending: _Pending, slots: dict[_Slot, int], names: dict[str, str]) -> Step:
    """Replace the slots of a step by buffers, and code by kernel names."""
    step, alternatives = pending.step, pending.step.alternatives
    buffers = tuple(slots[b] if isinstance(b, _Slot) else b for b in pending.buffers)
    alternatives = alternatives and _named(alternatives, names)
    return replace(step, kernel=names[step.kernel], buffers=buffers, alternatives=alternatives)


def _named(alternatives: Alternatives, names: Mapping[str, str]) -> Alternatives:
    """Replace code by kernel names."""
    others = {
        variant: tuple(replace(part, kernel=names[part.kernel]) for part in parts)
        for variant, parts in alternatives.others.items()
    }
    return replace(alternatives, others=others)


def _kernels(shaders: list[Shader], names: dict[str, str]) -> tuple[dict[str, plans.Kernel], dict[str, str]]:
    """Return the kernels by name, and their texts by file name."""
    kernels: dict[str, plans.Kernel] = {}
    texts: dict[str, str] = {}
    for shader in shaders:
        name = names[shader.code]
        file = f"{FOLDER if shader.variant else 'kernels'}/{name}.wgsl"
        kernels[name] = plans.Kernel(file, shader.access, shader.uniform, shader.kernel.needs)
        texts[file] = shader.text
    return kernels, texts


def _profiles(kernels: Iterable[Kernel]) -> dict[str, dict[str, Choice]]:
    """Return the choices of each class of adapters, by problem."""
    result: dict[str, dict[str, Choice]] = {name: {} for name in CLASSES}
    for kernel in kernels:
        for name, choice in kernel.profiles.items():
            result[name][kernel.problem] = choice
    return {name: choices for name, choices in result.items() if choices}


def _symbols(graphs: Mapping[str, Graph], dispatches: Mapping[str, Sequence[Dispatch]]) -> dict[str, Symbol]:
    """Return the symbols of all programs: those without rules by name, then the others, each after those it needs."""
    all_symbols = {k: v for name, graph in graphs.items() for k, v in symbols(graph, dispatches[name]).items()}
    return dict(sorted(all_symbols.items(), key=lambda item: (item[1].depth, item[0])))


def _rule(rule: dims.Rule) -> Rule:
    return Rule(tuple(map(dims.by_name, rule.of)), rule.per)


def _grid(kernel: Kernel) -> Grid:
    return tuple(map(_count, (*kernel.grid, Groups(()), Groups(()))[:3]))


def _count(groups: Groups) -> int | dict[str, Any]:
    if all(isinstance(d, int) for d in groups.of):
        return groups.at(dims.fixed)
    return {"of": list(map(dims.written, groups.of)), "per": groups.per}
