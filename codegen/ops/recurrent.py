"""Recurrent layers, with a workgroup for each direction and sequence and a barrier after every step."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, operand, own, refuse
from intaglio.codegen.target import MAX_INVOCATIONS, MAX_TRIPS, WORKGROUP_MEMORY
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Recurrent
from intaglio.compiler.ir.values import Value
from intaglio.runtime.limits import WORD

_LANES = MAX_INVOCATIONS
_MOST_HIDDEN = WORKGROUP_MEMORY // (2 * WORD)  # units, so that two states fit workgroup memory
_BACKWARD = {"forward": "false", "reverse": "true", "bidirectional": "d == 1u"}
_ACTIVATIONS = {
    "Affine": "{1} * {0} + {2}",
    "ScaledTanh": "{1} * tanh_safe({2} * {0})",
    "Softsign": "{0} / (1.0 + abs({0}))",
    "ThresholdedRelu": "select(0.0, {0}, {0} > {1})",
}


@own(Recurrent)
def recurrent(node: Node, layer: Recurrent[Value]) -> Kernel:
    taken, cell = layer.taken, layer.cell
    steps, batch = taken.shape[:2]
    directions, gates, hidden = map(dims.fixed, taken.shape[2:])
    k4 = dims.fixed(layer.weight.shape[2])
    lanes = min(_LANES, hidden + -hidden % 8)
    units, passes = -(-hidden // lanes), 2 if cell == "GRU" else 1
    extra = 2 * units + lanes.bit_length() if layer.rounded else 0
    if (
        hidden > _MOST_HIDDEN - (2 * lanes if layer.rounded else 0)
        or dims.high(steps) * (1 + extra + units * (passes * (k4 + 1) + 1)) > MAX_TRIPS
    ):
        raise refuse(node, f"{steps} steps of {hidden} units need more than {MAX_TRIPS} loop iterations")
    names = ("gate", "candidate", "result")
    consts = {
        "steps": wgsl.size(steps),
        "batch": wgsl.size(batch),
        "directions": directions,
        "backward": _BACKWARD[layer.direction],
        "hidden": hidden,
        "k4": k4,
        "gates": gates,
        "lanes": lanes,
        "coupled": layer.coupled,
        "rounded": layer.rounded,
        "peepholes": cell == "LSTM" and layer.extra is not None,
        "activations": {n: _activation(layer.clip, *a) for n, a in zip(names, layer.activations, strict=False)},
    }
    reads = {"x": taken, "r": layer.weight, "initial": layer.initial, "lengths": layer.lengths}
    if layer.extra is not None:
        reads["bias" if layer.after else "peepholes"] = layer.extra
    template = "gru_linear" if layer.after else cell.lower()
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


def _activation(clip: float | None, name: str, *parameters: float) -> str:
    x = f"clamp(x, -{wgsl.number(clip, 'f32')}, {wgsl.number(clip, 'f32')})" if clip else "x"
    text = _ACTIVATIONS.get(name) or wgsl.OPERATORS[name]
    return text.format(x, *(wgsl.number(p, "f32") for p in parameters), zero="0.0", one="1.0")
