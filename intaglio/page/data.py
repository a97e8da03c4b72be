"""What the page shows, as JSON: graphs with places, what each dispatch costs, memory over time, weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from intaglio.bundle import Bundle
from intaglio.page.layout import layout
from intaglio.runtime import files, tuning
from intaglio.runtime import plan as plans
from intaglio.runtime.instruments.profile import Profile
from intaglio.runtime.instruments.provenance import Graph, Operand, Outline
from intaglio.runtime.plan import ACCESS, Plan, Step
from intaglio.runtime.sizes import evaluate_size
from intaglio.text import groups, precision

LETTER = 6.5  # the width of a letter of the page's small print
LONGEST = 28  # letters of a name in a node


def page(bundle: Bundle, profile: Profile | None) -> dict[str, Any]:
    """Raises BadBundle."""
    plan, graph, edited = bundle.whole_plan, bundle.graph, []
    if profile is not None:
        had = {need for kernel in plan.kernels.values() for need in kernel.needs}
        plan = tuning.of_class(plan, profile.adapter_class, had)
        plan = tuning.as_measured(plan, {"device": profile.adapter, "description": ""}, had)
    return {
        "name": bundle.folder.resolve().name,
        "kind": plan.kind,
        "precision": precision(bundle.report),
        "passes": bundle.report.get("passes"),
        "symbols": plan.symbols,
        "models": {name: _drawn(outline) for name, outline in graph.models.items()},
        "programs": {name: _program(plan, graph, name, profile) for name in plan.programs},
        "kernels": {name: _kernel(bundle, name, edited) for name in plan.used},
        "edited": edited,
        "memory": {kind: plan.bytes_of(kind) for kind in plans.KINDS},
        "buffers": [{"kind": b.kind, "bytes": b.bytes, "name": b.name} for b in plan.buffers],
        "weights": list(_weights(plan, graph)),
        "profile": None if profile is None else _ceilings(profile),
    }


def _ceilings(profile: Profile) -> dict[str, Any]:
    ceilings = {"flops": profile.ceilings.flops, "bytes": profile.ceilings.bytes}
    return {"adapter": profile.adapter, "method": profile.method, **ceilings}


def _kernel(bundle: Bundle, name: str, edited: list[str]) -> dict[str, str]:
    file = bundle.whole_plan.kernels[name].file
    return {
        "file": file,
        "wgsl": files.verify_file(bundle.folder, bundle.whole_plan, file, edited).decode("utf-8", "replace"),
    }


# graphs


def _drawn(outline: Outline) -> dict[str, Any]:
    """Nodes, those of the graph's inputs and outputs among them, and edges [from, to, value, points between]."""
    makers = {value: i for i, o in enumerate(outline.operations) for value in o.makes}
    read = [(i, v) for i, o in enumerate(outline.operations) for k, v in enumerate(o.reads) if v and k not in o.consts]
    sources = list(dict.fromkeys(v for _, v in read if v not in makers))
    first = len(sources)
    nodes = [{"op": "input" if value in outline.inputs else "state", "name": value} for value in sources]
    nodes += [
        {
            "op": o.op,
            "name": o.nodes[-1] if o.nodes else ", ".join(o.makes),
            "nodes": o.nodes,
            "model": o.model,
            "reads": o.reads,
            "consts": o.consts,
            "makes": o.makes,
            "attrs": o.attrs,
        }
        for o in outline.operations
    ]
    edges = [(sources.index(v) if v not in makers else first + makers[v], first + i, v) for i, v in read]
    ends = [value for value in outline.outputs if value in makers]
    edges += [(first + makers[value], len(nodes) + i, value) for i, value in enumerate(ends)]
    nodes += [{"op": "output", "name": value} for value in ends]
    unique = list(dict.fromkeys((a, b, v) for a, b, v in edges if a < b))
    widths = [LETTER * (4 + max(len(n["op"]), min(len(n["name"]), LONGEST))) for n in nodes]
    places = layout(widths, [(a, b) for a, b, _ in unique])
    for node, width, (x, y) in zip(nodes, widths, places.nodes, strict=True):
        node |= {"x": round(x), "y": round(y), "w": round(width)}
    paths = [None if path is None else [[round(x), round(y)] for x, y in path] for path in places.edges]
    drawn = [[*edge, path] for edge, path in zip(unique, paths, strict=True)]
    return {"nodes": nodes, "edges": drawn, "first": first, "types": outline.types}


# programs


def _program(plan: Plan, graph: Graph, name: str, profile: Profile | None) -> dict[str, Any]:
    """Numbers are those of the profile's sizes, or of the largest."""
    timing = profile.programs[name] if profile else None
    symbols = timing.symbols if timing else {symbol: high for symbol, (_, high) in plan.symbols.items()}
    steps = [_step(plan, graph, name, i, symbols) for i in range(len(plan.programs[name].steps))]
    for i, step in enumerate(steps):
        step["seconds"] = timing.steps[i] if timing else None
    return {
        "graph": _drawn(graph.programs[name]),
        "steps": steps,
        "symbols": {symbol: symbols[symbol] for symbol in sorted(graph.symbols(name))},
        "seconds": timing.seconds if timing else None,
        "memory": list(_lives(plan, graph, name, symbols)),
    }


def _step(plan: Plan, graph: Graph, program: str, i: int, symbols: Mapping[str, int]) -> dict[str, Any]:
    step, work = plan.programs[program].steps[i], graph.work[program][i]
    flops, moved = graph.cost(plan, program, i, symbols)
    access = plan.kernels[step.kernel].access
    return {
        "kernel": step.at(symbols)[0].kernel,
        "operation": work.operation,
        "grid": [groups(d) for d in step.grid],
        "flops": flops,
        "bytes": moved,
        "operands": [
            _operand(o, word, buffer) for o, word, buffer in zip(work.operands, access, step.buffers, strict=True)
        ],
    }


def _operand(o: Operand, access: str, buffer: int) -> dict[str, Any]:
    origin = f"{o.origin.model}: {o.origin.name}" if o.origin else ""
    return {
        "name": o.name,
        "value": o.value,
        "type": str(o),
        "writes": ACCESS[access].write,
        "texture": bool(ACCESS[access].formats),
        "buffer": buffer,
        "offset": o.offset,
        "layout": o.layout,
        "origin": origin,
    }


def _lives(plan: Plan, graph: Graph, program: str, symbols: Mapping[str, int]) -> Iterator[dict[str, Any]]:
    """Which value lies in which scratch buffer, from the step that writes it to the last one that reads it."""
    open_: dict[int, dict[str, Any]] = {}
    for i, (step, work) in enumerate(zip(plan.programs[program].steps, graph.work[program], strict=True)):
        for buffer, operand, writes in _scratch(plan, step, work.operands):
            life = open_.get(buffer)
            if writes and (life is None or life["value"] != operand.value):
                if life is not None:
                    yield life
                type = f"{operand.dtype}[{','.join(str(evaluate_size(d, symbols)) for d in operand.shape)}]"
                open_[buffer] = {"buffer": buffer, "value": operand.value, "type": type, "first": i, "last": i}
            elif life is not None:
                life["last"] = i
    yield from open_.values()


def _scratch(plan: Plan, step: Step, operands: tuple[Operand, ...]) -> Iterator[tuple[int, Operand, bool]]:
    """What a step has in scratch buffers: first what it reads, then what it writes."""
    bound = list(zip(step.buffers, operands, plan.kernels[step.kernel].access, strict=True))
    for writes in (False, True):
        for buffer, operand, access in bound:
            if ACCESS[access].write == writes and plan.buffers[buffer].kind == "scratch":
                yield buffer, operand, writes


def _weights(plan: Plan, graph: Graph) -> Iterator[dict[str, Any]]:
    """Every weight with the steps that read it, the largest first."""
    readers: dict[int, list[tuple[str, int]]] = {}
    described: dict[int, Operand] = {}
    for name, program in plan.programs.items():
        for i, (step, work) in enumerate(zip(program.steps, graph.work[name], strict=True)):
            for buffer, operand in zip(step.buffers, work.operands, strict=True):
                if plan.buffers[buffer].kind == "weight":
                    readers.setdefault(buffer, []).append((name, i))
                    described[buffer] = operand
    for buffer in sorted(readers, key=lambda b: -plan.buffers[b].bytes):
        weight, operand = plan.buffers[buffer], described[buffer]
        yield {
            "name": weight.name,
            "type": str(operand),
            "dtype": operand.dtype,
            "layout": operand.layout,
            "bytes": weight.bytes,
            "file": ", ".join(weight.files),
            "buffer": buffer,
            "readers": readers[buffer],
        }
