"""The graph behind a plan: what every step computes, from which ONNX nodes, and the models before the passes.

People, `verify` and the page use it; running a bundle does not. Like the plan it may come from strangers, so its
indices and sizes are checked against the plan. Its texts are only displayed.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from intaglio.runtime import files
from intaglio.runtime.checked import items, named, typed
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.plan import ACCESS, DTYPES, Plan
from intaglio.runtime.sizes import Size, evaluate_size, largest, symbols_of

FILE = "graph.json"
FORMAT = "intaglio-graph-1"


@dataclass(frozen=True)
class Origin:
    """A value of an ONNX model, changed by `views` in order.

    A view permutes it (["perm", axes]), reshapes it (["shape", sizes]), cuts it to some of its columns (["columns",
    [first, end]]) or to the first elements along each axis (["first", sizes]).
    """

    model: str
    name: str
    views: tuple[tuple[str, tuple[Size, ...]], ...] = ()

    def apply(self, array: np.ndarray, symbols: Mapping[str, int]) -> np.ndarray:
        """Apply the views to an ONNX value. `symbols`: those of the model. Raises ValueError if a view does not fit."""
        for kind, arguments in self.views:
            numbers = [evaluate_size(d, symbols) for d in arguments]
            if kind == "columns":
                array = array[..., slice(*numbers)]
            elif kind == "first":
                array = array[tuple(map(slice, numbers))]
            else:
                array = array.transpose(numbers) if kind == "perm" else array.reshape(numbers)
        return array


@dataclass(frozen=True)
class Operand:
    """What a step reads or writes at a binding: the tensor `value`, from element `offset` of the buffer on.

    name: the binding's name in the shader. layout: how a weight is packed; empty for other tensors. touched: factors of
    the number of elements that are read or written. whole: whether this step is the last one that writes the tensor.
    origin: the ONNX value that equals what the step writes.
    """

    name: str
    value: str
    dtype: str
    shape: tuple[Size, ...]
    touched: tuple[Size, ...]
    offset: Size = 0
    layout: str = ""
    whole: bool = False
    origin: Origin | None = None

    def __str__(self) -> str:
        return f"{self.dtype}[{','.join(map(str, self.shape))}]"


@dataclass(frozen=True)
class Work:
    """What a step computes.

    operation: the index of an operation of its program. flops: factors of the number of floating-point operations.
    operands: those at its bindings.
    """

    operation: int
    flops: tuple[Size, ...]
    operands: tuple[Operand, ...]


@dataclass(frozen=True)
class Operation:
    """An operator `op`, which makes the values `makes` from the values `reads`. A value that is "" is absent.

    consts: the indices of the constants in `reads`. nodes: the nodes of the ONNX model `model` that it comes from.
    """

    op: str
    model: str
    nodes: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    consts: tuple[int, ...] = ()
    makes: tuple[str, ...] = ()
    attrs: str = ""


@dataclass(frozen=True)
class Outline:
    """The operators of a graph in order, and the types of its values and larger constants by name."""

    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    operations: tuple[Operation, ...]
    types: dict[str, str]


@dataclass(frozen=True)
class Graph:
    """The graph behind a plan.

    models: as they were loaded. programs: after the passes. work: what each step of a program computes.
    """

    models: dict[str, Outline]
    programs: dict[str, Outline]
    work: dict[str, tuple[Work, ...]]

    def operation(self, program: str, step: int) -> Operation:
        return self.programs[program].operations[self.work[program][step].operation]

    def cost(self, plan: Plan, program: str, step: int, symbols: Mapping[str, int]) -> tuple[int, int]:
        """Return the floating-point operations of a step, and the bytes that memory must move without caches."""
        work, buffers = self.work[program][step], plan.programs[program].steps[step].buffers
        moved = sum(
            plan.buffers[b].each * math.prod(evaluate_size(d, symbols) for d in o.touched)
            for o, b in zip(work.operands, buffers, strict=True)
        )
        return math.prod(evaluate_size(d, symbols) for d in work.flops), moved

    def symbols(self, program: str) -> set[str]:
        """Return the symbols on which sizes in a program depend."""
        shown = (d for work in self.work[program] for o in work.operands for d in (*o.shape, o.offset))
        return {symbol for d in shown for symbol in symbols_of(d)}

    def readers(self, plan: Plan, program: str) -> list[set[int]]:
        """Return for each step of a program the later steps that read what it wrote."""
        steps = plan.programs[program].steps
        result: list[set[int]] = [set() for _ in steps]
        # Buffer -> the value that lies there, and the steps that wrote parts of it.
        writers: dict[int, tuple[str, list[int]]] = {}
        for i, (step, work) in enumerate(zip(steps, self.work[program], strict=True)):
            bound = list(zip(step.buffers, work.operands, plan.kernels[step.kernel].access, strict=True))
            for buffer, _, access in bound:
                if not ACCESS[access].write and buffer in writers:
                    for writer in writers[buffer][1]:
                        result[writer].add(i)
            for buffer, operand, access in bound:
                if ACCESS[access].write:
                    value, before = writers.get(buffer, (operand.value, []))
                    writers[buffer] = operand.value, [*(before if value == operand.value else []), i]
        return result


# the file


def write(graph: Graph) -> str:
    """Return the text of graph.json, with a line for each operation and step."""

    def line(value: Any) -> str:
        return json.dumps(value, separators=(",", ":"), ensure_ascii=False, default=vars)

    def lines(items: Iterator[Any]) -> str:
        return "[\n" + ",\n".join(map(line, items)) + "\n]"

    def outline(o: Outline) -> str:
        head = f'"inputs":{line(o.inputs)},"outputs":{line(o.outputs)},"types":{line(o.types)}'
        return f'{{{head},"operations":{lines(_filled(op) for op in o.operations)}}}'

    def block(items: Mapping[str, str]) -> str:
        return "{\n" + ",\n".join(f"{line(name)}:{text}" for name, text in items.items()) + "\n}"

    fields = {
        "format": line(FORMAT),
        "models": block({name: outline(o) for name, o in graph.models.items()}),
        "programs": block({name: outline(o) for name, o in graph.programs.items()}),
        "work": block({name: lines(map(_work_line, work)) for name, work in graph.work.items()}),
    }
    return block(fields) + "\n"


def _work_line(work: Work) -> dict[str, Any]:
    return {"operation": work.operation, "flops": work.flops, "operands": [_filled(o) for o in work.operands]}


def _filled(item: Any) -> dict[str, Any]:
    """Return the fields that are not empty."""
    return {k: v for k, v in vars(item).items() if v or k in ("shape", "touched")}


def read(folder: Path, plan: Plan) -> Graph:
    """Read and check the graph of a bundle. Raises BadBundle if it is broken or missing."""
    if FILE not in plan.files:
        raise BadBundle(f"{folder} has no {FILE}, which says what its steps compute; compile the model again")
    content = files.verify_file(folder, plan, FILE)
    try:
        data = json.loads(content)
        if data["format"] != FORMAT:
            raise ValueError(f"expected format {FORMAT}")
        graph = _parse(data)
        _check(graph, plan)
    except (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError, RecursionError) as e:
        raise BadBundle(f"{folder / FILE} is broken: {type(e).__name__} {e}; compile the model again") from e
    return graph


def _parse(data: Any) -> Graph:
    return Graph(
        {name: _outline(**o) for name, o in named(data["models"], dict).items()},
        {name: _outline(**o) for name, o in named(data["programs"], dict).items()},
        {name: tuple(_work(**w) for w in items(work, dict)) for name, work in named(data["work"], list).items()},
    )


def _outline(inputs: Any, outputs: Any, types: Any, operations: Any) -> Outline:
    parsed = tuple(_operation(**o) for o in items(operations, dict))
    return Outline(items(inputs, str), items(outputs, str), parsed, named(types, str))


def _operation(
    op: str, model: str, nodes: Any = (), reads: Any = (), consts: Any = (), makes: Any = (), attrs: str = ""
) -> Operation:
    op, model, attrs = (typed(text, str) for text in (op, model, attrs))
    nodes, reads, makes = (items(names or [], str) for names in (nodes, reads, makes))
    return Operation(op, model, nodes, reads, items(consts or [], int), makes, attrs)


def _work(operation: int, flops: Any, operands: Any) -> Work:
    return Work(typed(operation, int), items(flops, int, str), tuple(_operand(**o) for o in items(operands, dict)))


def _operand(
    name: str,
    value: str,
    dtype: str,
    shape: Any,
    touched: Any,
    offset: Size = 0,
    layout: str = "",
    whole: bool = False,
    origin: Any = None,
) -> Operand:
    name, value, dtype, layout = (typed(text, str) for text in (name, value, dtype, layout))
    shape, touched = (items(sizes, int, str) for sizes in (shape, touched))
    source = None if origin is None else _origin(**typed(origin, dict))
    return Operand(name, value, dtype, shape, touched, typed(offset, int, str), layout, typed(whole, bool), source)


def _origin(model: str, name: str, views: Any = ()) -> Origin:
    pairs = ((typed(kind, str), items(sizes, int, str)) for kind, sizes in items(views or [], list))
    return Origin(typed(model, str), typed(name, str), tuple(pairs))


def _check(graph: Graph, plan: Plan) -> None:
    if not graph.programs.keys() == graph.work.keys() == plan.programs.keys():
        raise ValueError("it lists other programs than the plan")
    for outline in (*graph.models.values(), *graph.programs.values()):
        for o in outline.operations:
            if any(not 0 <= i < len(o.reads) for i in o.consts):
                raise ValueError(f"operation {o.op!r}: a constant that it does not read")
    for name, program in plan.programs.items():
        for work, step in zip(graph.work[name], program.steps, strict=True):
            if not 0 <= work.operation < len(graph.programs[name].operations):
                raise ValueError(f"a step of {step.kernel!r}: unknown operation")
            largest(work.flops, plan.symbols)
            if len(work.operands) != len(step.buffers):
                raise ValueError(f"a step of {step.kernel!r}: expected {len(step.buffers)} operands")
            for operand in work.operands:
                if operand.dtype not in DTYPES:
                    raise ValueError(f"operand {operand.value!r}: unknown element type")
                for factors in (operand.shape, operand.touched, (operand.offset,)):
                    largest(factors, plan.symbols)
