"""A decoder's file, read for T tokens and no past: what its callers pass beside token ids is bound, or counted from T.

Exporters differ in those inputs (caches, masks, positions, flags); the passes derive the cache again, so none survives.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import ModelProto

from intaglio.compiler import load
from intaglio.compiler.dims import Dim
from intaglio.compiler.ir import DTYPES, BadModel, Graph, Node, TensorType, Value, known
from intaglio.compiler.pattern import GraphBuilder

_WHOLE = ("i64", "i32")


@dataclass(frozen=True)
class Inputs:
    """What callers of a decoder pass, by role: token ids, masks of ones, positions from 0 on, an encoder's rows. The
    first three are as long as the tokens, with one axis or, before it, a batch of 1. `fixed` is passed always."""

    ids: tuple[str, ...]
    masks: tuple[str, ...]
    positions: tuple[str, ...]
    rows: tuple[str, ...]
    fixed: dict[str, np.ndarray]


def inputs(model: ModelProto, encoder: bool) -> Inputs:
    """Raises BadModel for inputs that no known decoder has; `encoder`: whether there is one before it."""
    found: dict[str, list[str]] = {"ids": [], "masks": [], "positions": [], "rows": []}
    fixed: dict[str, np.ndarray] = {}
    declared = {i.name: [d.dim_value for d in i.type.tensor_type.shape.dim] for i in model.graph.input}
    for name, (dtype, rank) in load.input_types(model).items():
        if dtype == "bool":
            fixed[name] = np.zeros([1] * rank, bool)  # use_cache_branch
        elif dtype in _WHOLE and rank == 0:
            fixed[name] = np.array(0, DTYPES[dtype])  # num_logits_to_keep: 0 keeps all
        elif dtype in _WHOLE and rank <= 2:
            role = "masks" if "mask" in name else "positions" if rank == 1 or "position" in name else "ids"
            found[role].append(name)
        elif dtype[0] == "f" and rank == 3 and encoder:
            found["rows"].append(name)
        elif dtype[0] == "f" and rank == 4 and declared[name][1]:
            fixed[name] = np.zeros((1, declared[name][1], 0, declared[name][3]), DTYPES[dtype])  # size 0: undeclared
        else:
            raise BadModel(f"the decoder takes {name}: {dtype} of rank {rank}, which no decoder known here does")
    return Inputs(**{role: tuple(names) for role, names in found.items()}, fixed=fixed)


def feeds(model: ModelProto, ids: np.ndarray, rows: np.ndarray | None = None) -> dict[str, np.ndarray]:
    """What callers pass to the model, and to its file, for the tokens `ids` [1,tokens], no past, and an encoder's rows.

    Raises BadModel.
    """
    found, types = inputs(model, rows is not None), load.input_types(model)
    passed = {
        **dict.fromkeys(found.ids, ids),
        **dict.fromkeys(found.masks, np.ones_like(ids)),
        **dict.fromkeys(found.positions, np.arange(ids.size)[None]),
    }
    shaped = {name: array.astype(DTYPES[types[name][0]]) for name, array in passed.items()}
    shaped = {name: array[0] if types[name][1] == 1 else array for name, array in shaped.items()}
    return {**found.fixed, **shaped, **dict.fromkeys(found.rows, rows)}


def read(path: Path, tokens: Dim, rows: tuple[Dim, ...] | None = None) -> Graph:
    """input_ids i64[1,tokens] (and encoder_hidden_states f32[rows], behind an encoder) -> logits f32[1,tokens,vocab].

    Raises BadModel, UnsupportedOperator.
    """
    model = load.read(path)
    found, types = inputs(model, rows is not None), load.input_types(model)
    long = (*found.ids, *found.masks, *found.positions)
    shapes = {name: (1, tokens) if types[name][1] == 2 else (tokens,) for name in long}
    shapes |= dict.fromkeys(found.rows, rows)
    graph = load.load(model, "decode", folder=path.parent, shapes=shapes, bind=found.fixed)
    for value in [v for v in graph.inputs if v.name in found.masks + found.positions]:
        graph.inputs.remove(value)
        _fill(graph, value, _count if value.name in found.positions else _ones)
    return _checked(graph, {2: "input_ids", 3: "encoder_hidden_states"} if rows is not None else {2: "input_ids"})


def _checked(graph: Graph, roles: dict[int, str]) -> Graph:
    """The graph with the logits as its one output, and with the inputs that `roles` names by their rank."""
    graph.outputs = [v for v in graph.outputs if len(v.shape) == 3][:1]
    if not graph.outputs:
        raise BadModel("the decoder has no output logits [batch, tokens, vocabulary]")
    graph.prune()
    graph.inputs = [v for v in graph.inputs if graph.consumers(v)]
    if sorted(len(v.shape) for v in graph.inputs) != sorted(roles):
        found = ", ".join(v.name for v in graph.inputs)
        raise BadModel(f"the decoder reads {found}; {' and '.join(roles.values())} are wanted")
    for value in graph.inputs:
        value.name = roles[len(value.shape)]
    graph.outputs[0].name = "logits"
    return graph


# what callers pass: ones for tokens that count, and positions from 0 on


def _ones(graph: Graph, shape: Value) -> Node:
    return Node("ConstantOfShape", (shape,), (), {"value": np.ones(1, np.int64)})


def _count(graph: Graph, shape: Value) -> Node:
    ends = tuple(graph.constant(known([d], ())) for d in (0, shape.const[-1], 1))
    counted = graph.value("positions", TensorType("i64", (shape.const[-1],)))
    graph.add(Node("Range", ends, (counted,), {}, ("positions",)))
    return Node("Reshape", (counted, shape), ())


def _fill(graph: Graph, value: Value, make: Callable[[Graph, Value], Node]) -> None:
    """Let an input be made by the node that `make` gives for its shape."""
    made = graph.value(f"{value.name}.made", TensorType("i64", value.shape))
    node = make(graph, graph.constant(known(value.shape, (len(value.shape),))))
    graph.add(Node(node.op, node.inputs, (made,), node.attrs, (value.name,)))
    graph.add(Node("Cast", (made,), (value,), {"to": value.dtype}, (value.name,)))


def add_tokens(graph: Graph, context: int) -> Value:
    """The state `tokens` i32[1,context+1,1], a row for each position: where runs read tokens and write the next one."""
    tokens = graph.value("tokens", TensorType("i32", (1, context + 1, 1)))
    graph.states.append(tokens)
    return tokens


def read_tokens(graph: Graph, past: Dim, new: Dim) -> int:
    """Let the graph read its `new` tokens where they lie, behind the `past` ones; returns 1."""
    ids = next(v for v in graph.inputs if v.name == "input_ids")
    graph.inputs.remove(ids)
    tokens = next(v for v in graph.states if v.name == "tokens")
    builder = GraphBuilder(graph, graph.consumers(ids)[0])
    bounds = (known([past], (1,)), known([past + new], (1,)), np.array([1]))
    rows = builder.Slice(tokens, *map(builder.constant, bounds))
    graph.redirect(ids, builder.Reshape(rows, builder.constant(known([1, new], (2,)))))
    return 1
