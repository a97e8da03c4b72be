"""Pooling over any number of axes, with an invocation for each result."""

from __future__ import annotations

from typing import Any

import numpy as np

from intaglio.codegen import titles, wgsl
from intaglio.codegen.kernel import Kernel, op, operand, per_element, refuse, wgsl_type
from intaglio.codegen.ops.conv import tap, trips
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.values import Value
from intaglio.compiler.semantics.windows import Window, windows


@op("MaxPool")
def max_pool(node: Node) -> list[Kernel]:
    """Return a kernel for the largest elements and, if the node has that output, one for their indices."""
    shape = node.inputs[0].shape[2:]
    consts = {"total": "highest", "combine": "select(max(highest, value), value, count == 0u)", "finish": "highest"}
    kernels = [_kernel("pool", node, node.output, consts, "Maximum")]
    if len(node.outputs) > 1:
        steps = wgsl.strides(shape[::-1])[::-1] if node.attrs.get("storage_order") else wgsl.strides(shape)
        consts = {"total": "highest", "steps": [wgsl.size(s) for s in steps]}
        kernels.append(_kernel("pool_index", node, node.outputs[1], consts, "Where in x the maximum lies,"))
    return kernels


@op("AveragePool")
def average_pool(node: Node) -> Kernel:
    count = "count"
    if node.attrs.get("count_include_pad"):
        count = " * ".join(_covered(w, f"o{i}") for i, w in enumerate(windows(node)))
    consts = {"total": "sum", "combine": "sum + value", "finish": f"sum / f32({count})"}
    return _kernel("pool", node, node.output, consts, "Mean")


@op("LpPool")
def lp_pool(node: Node) -> Kernel:
    p = node.attrs.get("p", 2)
    if p < 1:
        raise refuse(node, f"a norm of order {p} is not supported")
    finish = f"pow(sum, {wgsl.number(1 / p, 'f32')})"
    consts = {"total": "sum", "combine": f"sum + pow(abs(value), {p}.0)", "finish": finish}
    return _kernel("pool", node, node.output, consts, f"Norm of order {p}")


def _covered(window: Window, o: str) -> str:
    """Return the text of how many taps of window `o` lie in the elements or in their padding."""
    span = window.size + window.before + window.after
    last = (window.count - 1) * window.stride + (window.kernel - 1) * window.dilation
    if isinstance(span, int) and dims.high(last) < span:
        return f"{window.kernel}u"
    left = f"{wgsl.size(span + window.dilation - 1)} - {o} * {window.stride}u"
    return f"min({window.kernel}u, ({left}) / {window.dilation}u)"


def _kernel(template: str, node: Node, out: Value, consts: dict[str, Any], what: str) -> Kernel:
    x, slid = node.inputs[0], windows(node)
    if trips(1, slid) > MAX_TRIPS:
        raise refuse(
            node, f"windows of {' x '.join(str(w.kernel) for w in slid)} need more than {MAX_TRIPS} loop iterations"
        )
    size, steps = dims.product(out.shape[2:]), wgsl.strides(x.shape[2:])
    places = wgsl.coordinates("i", (dims.product(out.shape[:2]), *out.shape[2:]))[1:]
    consts |= {
        "outputs": wgsl.size(out.type.size),
        "size": wgsl.size(size),
        "plane": wgsl.size(dims.product(x.shape[2:])),
        "zero": f"{wgsl_type(x.type)}()",
        "axes": [tap(w) | {"o": o, "step": wgsl.size(s)} for w, o, s in zip(slid, places, steps, strict=True)],
    }
    label = f"{node.op.lower()}{len(slid)}d" + "_index" * (template == "pool_index")
    flops = out.type.size * int(np.prod([w.kernel for w in slid]))
    title = f"{what} of each {titles.sizes(w.kernel for w in slid)} window of {titles.shape(x)}"
    return per_element(template, {"x": operand(x)}, {"out": out}, out.type.size, consts, label, flops, title)
