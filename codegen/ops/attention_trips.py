"""Leaves out the variants of attention whose loops are too long for software adapters.

A software adapter silently stops an invocation after a number of iterations, summed over all of its loops. Variants
for GPUs, which have no such limit, stay: profiles choose them for GPUs alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.codegen.kernel import refuse
from intaglio.codegen.target import MAX_TRIPS
from intaglio.compiler.ir import dims
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import Attention
from intaglio.compiler.ir.values import Value

_ON_GPUS = ("attention_keys", "attention_tiles", "attention_tiles_rounded", "attention_tiles_slice")
_SUBGROUP = 8  # keys that a subgroup processes at a time

Variants = dict[str, dict[str, Any]]


def short_enough(node: Node, of: Attention[Value], template: str, variants: Variants) -> Variants:
    """Return the variants that a software adapter runs to the end, and those for GPUs. Raises UnsupportedOperator.

    template: that of the variants that name none.
    """
    keys, d4 = dims.high(of.k.shape[-2]), -(-dims.fixed(of.q.shape[-1]) // of.heads // 4)
    used = {name: fields.get("template", template) for name, fields in variants.items()}
    short = [
        n for n, t in used.items() if t not in _ON_GPUS and _trips(t, variants[n]["consts"], keys, d4) <= MAX_TRIPS
    ]
    if not short:
        raise refuse(
            node, f"{of.k.shape[-2]} keys need more than {MAX_TRIPS} loop iterations; compile for fewer tokens"
        )
    return {name: fields for name, fields in variants.items() if name in short or used[name] in _ON_GPUS}


def _trips(template: str, consts: Mapping[str, Any], keys: int, d4: int) -> int:
    """Return the iterations of all loops of an invocation. d4: the vec4s in a head."""
    if template == "attention_decode":
        return _decode_trips(consts, keys, d4)
    if template == "attention_decode_subgroup":
        return _parts(keys, _SUBGROUP) + d4
    passes = 2 if template == "attention_rounded" else 1
    return passes * _parts(keys, consts["block"]) + 2 * d4


def _decode_trips(consts: Mapping[str, Any], keys: int, d4: int) -> int:
    block, lanes, splits = consts["block"], consts["lanes"], consts["splits"]
    scores = _parts(block, lanes * consts["tile"]) * (1 + d4)
    sums = lanes + _parts(block, lanes) + _parts(block, splits) + splits
    return _parts(keys, block) * (1 + scores + sums)


def _parts(count: int, each: int) -> int:
    return -(-count // each)
