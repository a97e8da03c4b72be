"""Recurrent layers: a workgroup for each direction and sequence, which meets at a barrier after every step."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import MAX_TRIPS, Kernel, groups, op, operand, refuse
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.graph import Node

_LANES = 256
_MOST_HIDDEN = 2048  # whose states fit workgroup memory twice
_BACKWARD = {"forward": "false", "reverse": "true", "bidirectional": "d == 1u"}
_ACTIVATIONS = {
    "Affine": "{1} * {0} + {2}",
    "ScaledTanh": "{1} * tanh_safe({2} * {0})",
    "Softsign": "{0} / (1.0 + abs({0}))",
    "ThresholdedRelu": "select(0.0, {0}, {0} > {1})",
}


@op("Recurrent")
def recurrent(node: Node) -> Kernel:
    taken, r, initial, lengths, extra = (node.input(i) for i in range(5))
    steps, batch, directions, gates, hidden = taken.shape
    cell, k4 = node.attrs["cell"], r.shape[2]
    lanes = min(_LANES, hidden + -hidden % 8)
    units, passes = -(-hidden // lanes), 2 if cell == "GRU" else 1
    if hidden > _MOST_HIDDEN or dims.high(steps) * (1 + units * (passes * (k4 + 1) + 1)) > MAX_TRIPS:
        raise refuse(node, f"{steps} steps of {hidden} units need more than {MAX_TRIPS} loop iterations")
    names = ("gate", "candidate", "result")
    consts = {
        "steps": wgsl.size(steps),
        "batch": wgsl.size(batch),
        "directions": directions,
        "backward": _BACKWARD[node.attrs["direction"]],
        "hidden": hidden,
        "k4": k4,
        "gates": gates,
        "lanes": lanes,
        "coupled": node.attrs["coupled"],
        "peepholes": cell == "LSTM" and extra is not None,
        "activations": {n: _activation(node, *a) for n, a in zip(names, node.attrs["activations"], strict=False)},
    }
    reads = {"x": taken, "r": r, "initial": initial, "lengths": lengths}
    if extra is not None:
        reads["bias" if node.attrs["after"] else "peepholes"] = extra
    template = "gru_linear" if node.attrs["after"] else cell.lower()
    return Kernel(
        template,
        {name: operand(value) for name, value in reads.items()},
        dict(zip(("y", "last"), node.outputs, strict=True)),
        (groups(batch), groups(directions)),
        (lanes,),
        consts,
        f"{template}_{hidden}",
        frozenset({"r"}),
        flops=taken.type.size * (2 * hidden),
    )


def _activation(node: Node, name: str, *parameters: float) -> str:
    clip = node.attrs["clip"]
    x = f"clamp(x, -{wgsl.number(clip, 'f32')}, {wgsl.number(clip, 'f32')})" if clip else "x"
    text = _ACTIVATIONS.get(name) or wgsl.OPERATORS[name]
    return text.format(x, *(wgsl.number(p, "f32") for p in parameters), zero="0.0", one="1.0")
