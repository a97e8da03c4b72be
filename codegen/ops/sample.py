"""Sampling: the next token, chosen on the adapter and left where the next step reads it."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, op, operand
from intaglio.compiler.ir import Node


@op("WhisperToken")
def whisper_token(node: Node) -> Kernel:
    logits, suppress, suppress_first, _ = node.inputs
    a = node.attrs
    consts = {k: wgsl.size(a[k]) for k in ("at", "begin", "timed")}
    consts |= {k: a[k] for k in ("end", "no_timestamps", "first_timestamp", "max_initial_timestamp")}
    consts["vocabulary"] = logits.shape[-1]
    reads = {"logits": logits, "suppress": operand(suppress), "suppress_first": operand(suppress_first)}
    return Kernel("whisper_token", reads, {"tokens": node.output}, (groups(1),), (256,), consts, "whisper_token")
