"""Recurrent layers: the input's part of the gates is one product for all steps; only the rest runs step by step."""

from __future__ import annotations

import numpy as np

from intaglio.compiler.ir.dims import Dim, fixed
from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.rewrite.builder import GraphBuilder

# the gates of each cell, and its activations: of the gates, of the candidate, of the result
_CELLS = {"RNN": (1, ["Tanh"]), "GRU": (3, ["Sigmoid", "Tanh"]), "LSTM": (4, ["Sigmoid", "Tanh", "Tanh"])}
# what activations have for alpha and beta by default
_PARAMETERS = {
    "Affine": (1.0, 0.0),
    "Elu": (1.0,),
    "HardSigmoid": (0.2, 0.5),
    "LeakyRelu": (0.01,),
    "Relu": (),
    "ScaledTanh": (1.0, 1.0),
    "Sigmoid": (),
    "Softplus": (),
    "Softsign": (),
    "Tanh": (),
    "ThresholdedRelu": (1.0,),
}


# what of the two biases of a GRU is added before its reset gate is applied, if that is applied after the product
_BEFORE_RESET = np.array([[1, 1, 1], [1, 1, 0]], np.float32).reshape(1, 2, 3, 1)


def recurrent(op: GraphBuilder, node: Node, rounded: bool = False) -> list[Value] | None:
    """Return the outputs of a recurrent layer, or None if its directions have different activations.

    rounded: the hidden units are rounded to 8 bits before their products.
    """
    _check(node)
    x, _, r = node.inputs[:3]
    lengths, h, c, peepholes = (node.input(i) for i in range(4, 8))
    batch_first, after = bool(node.attrs.get("layout")), bool(node.attrs.get("linear_before_reset"))
    gates, count = _CELLS[node.op][0], 2 if node.op == "LSTM" else 1
    x = op.Transpose(x, perm=[1, 0, 2]) if batch_first else x
    steps, batch, directions, hidden = *x.shape[:2], r.shape[0], r.shape[2]
    first, *others = activations(node, fixed(directions))
    if any(other != first for other in others):
        return None
    gates_in = _taken(op, node, x, after)
    states = [_state(op, v, x, (directions, batch, hidden), batch_first) for v in (h, c)[:count]]
    if lengths is None:
        lengths = op.Expand(op.dimensions(steps), op.dimensions(batch))
    extra = _late_bias(op, node, x) if after else peepholes
    inputs = (op.Reshape(gates_in, op.dimensions(steps, batch, directions, gates, hidden)), _packed(op, r, gates))
    attrs = {"cell": node.op, "activations": tuple(first), "clip": node.attrs.get("clip"), "after": after}
    attrs |= {"direction": node.attrs.get("direction", "forward"), "coupled": bool(node.attrs.get("input_forget"))}
    attrs["rounded"] = rounded
    y, final = op.node("Recurrent", (*inputs, op.Concat(*states, axis=0), lengths, extra), 2, **attrs)
    finals = op.node("Split", (final,), count, axis=0, num_outputs=count)
    if not batch_first:
        return [y, *finals]
    return [op.Transpose(y, perm=[2, 0, 1, 3]), *(op.Transpose(v, perm=[1, 0, 2]) for v in finals)]


def _check(node: Node) -> None:
    """Raise BadModel if the shapes of the inputs do not match."""
    x, weight, r = node.inputs[:3]
    directions, gates = 2 if node.attrs.get("direction") == "bidirectional" else 1, _CELLS[node.op][0]
    hidden = node.attrs.get("hidden_size", r.shape[-1] if r.shape else None)
    rows = (directions, gates * hidden) if isinstance(hidden, int) else ()
    fits = len(x.shape) == 3 and weight.shape == (*rows, x.shape[-1]) and r.shape == (*rows, hidden)
    batch = x.shape[0 if node.attrs.get("layout") else 1] if fits else 0
    state = (batch, directions, hidden) if node.attrs.get("layout") else (directions, batch, hidden)
    shapes = (
        {3: (directions, 2 * gates * hidden), 4: (batch,), 5: state, 6: state, 7: (directions, 3 * hidden)}
        if fits
        else {}
    )
    wrong = [
        str(node.inputs[i])
        for i, shape in shapes.items()
        if node.input(i) is not None and node.inputs[i].shape != shape
    ]
    if not fits or wrong:
        inputs = ", ".join(wrong) or f"{weight} and {r}"
        raise BadModel(f"{node.op} ({node.name}): the shapes of {inputs} do not match {x} and {hidden} units")


def activations(node: Node, directions: int) -> list[list[tuple[str, float, float]]]:
    """For each direction the activations with their alpha and beta. Raises BadModel for unknown ones."""
    names = node.attrs.get("activations") or _CELLS[node.op][1] * directions
    parameters = {key: list(node.attrs.get(f"activation_{key}", [])) for key in ("alpha", "beta")}
    result = []
    for name in names:
        if name not in _PARAMETERS:
            raise BadModel(f"{node.op} ({node.name}): the activation {name} is not supported")
        values = [
            parameters[k].pop(0) if parameters[k] else d for k, d in zip(parameters, _PARAMETERS[name], strict=False)
        ]
        result.append((name, *values))
    each = len(_CELLS[node.op][1])
    if len(result) != each * directions:
        raise BadModel(f"{node.op} ({node.name}): got {len(result)} activations, expected {each * directions}")
    return [result[i * each : (i + 1) * each] for i in range(directions)]


def _taken(op: GraphBuilder, node: Node, x: Value, after: bool) -> Value:
    """The input's part of the gates, with the biases: [steps, batch, directions * gates * hidden]."""
    weight, bias = node.inputs[1], node.input(3)
    directions, rows, width = weight.shape
    product = op.MatMul(x, op.Transpose(op.Reshape(weight, op.dimensions(directions * rows, width)), perm=[1, 0]))
    if bias is None:
        return product
    bias = op.Reshape(bias, op.dimensions(directions, 2, _CELLS[node.op][0], -1))
    summed = op.ReduceSum(op.Mul(bias, op.constant(_BEFORE_RESET)) if after else bias, op.integers(1), keepdims=0)
    return op.Add(product, op.Reshape(summed, op.integers(-1)))


def _late_bias(op: GraphBuilder, node: Node, x: Value) -> Value:
    """The bias that a reset gate is applied to: [directions, hidden]."""
    bias, (directions, _, hidden) = node.input(3), node.inputs[2].shape
    if bias is None:
        return op.Expand(op.number(0, x), op.dimensions(directions, hidden))
    return op.Slice(bias, op.dimensions(5 * hidden), op.dimensions(6 * hidden), op.integers(1))


def _packed(op: GraphBuilder, r: Value, gates: int) -> Value:
    """The recurrent weight as [direction, gate, k / 4, hidden, 4]: neighbouring units read neighbouring vec4s."""
    directions, _, hidden = r.fixed_shape
    r = op.Reshape(r, op.integers(directions, gates, hidden, hidden))
    r = op.Pad(r, op.integers(*[0] * 7, -hidden % 4)) if hidden % 4 else r
    return op.Transpose(op.Reshape(r, op.integers(directions, gates, hidden, -1, 4)), perm=[0, 1, 3, 2, 4])


def _state(op: GraphBuilder, value: Value | None, x: Value, shape: tuple[Dim, ...], batch_first: bool) -> Value:
    if value is None:
        return op.Expand(op.number(0, x), op.dimensions(*shape))
    return op.Transpose(value, perm=[1, 0, 2]) if batch_first else value


EXPANSIONS = dict.fromkeys(_CELLS, recurrent)
