"""Sampling: kernels choose the next token on the adapter and write it where the next step reads it."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, operand, own
from intaglio.codegen.target import MAX_INVOCATIONS
from intaglio.compiler.ir.dims import fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import SampleToken, WhisperToken
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.contract import SAMPLING_OPTIONS

_LANES = MAX_INVOCATIONS
SLICE = 8192  # tokens of which a workgroup finds the best one


@own(WhisperToken)
def whisper_token(node: Node, of: WhisperToken[Value]) -> Kernel:
    consts: dict[str, Any] = {"at": wgsl.size(of.at), "begin": wgsl.size(of.begin), "timed": wgsl.size(of.timed)}
    consts |= {"end": of.end, "no_timestamps": of.no_timestamps, "first_timestamp": of.first_timestamp}
    consts |= {"max_initial_timestamp": of.max_initial_timestamp, "vocabulary": of.logits.shape[-1], "lanes": _LANES}
    reads = {"logits": of.logits, "suppress": operand(of.suppress), "suppress_first": operand(of.suppress_first)}
    writes, touched = {"tokens": node.output}, {"tokens": (1,)}
    return Kernel("whisper_token", reads, writes, (groups(1),), (_LANES,), consts, "whisper_token", touched=touched)


@own(SampleToken)
def sample_token(node: Node, of: SampleToken[Value]) -> list[Kernel]:
    """Return a kernel that scores all tokens and finds the best of each slice, and one that takes the best of those, or
    draws a token from all scores."""
    logits, sampling, tokens = of.logits, of.sampling, of.tokens
    vocabulary = fixed(logits.shape[-1])
    slices = -(-vocabulary // SLICE)
    name = node.output.name
    scores = Value(f"{name}.scores", TensorType("f32", (vocabulary + -vocabulary % 4,)))
    best = Value(f"{name}.best", TensorType("u32", (slices, 2)))
    consts = {"vocabulary": vocabulary, "slice": SLICE, "slices": slices, "sampling": SAMPLING_OPTIONS}
    consts |= {"at": wgsl.size(of.at), "seed": wgsl.size(of.seed), "lanes": _LANES}
    reads = {"logits": logits, "sampling": sampling, "tokens": tokens}
    return [
        Kernel(
            "sample_scores",
            reads,
            {"scores": scores, "best": best},
            (groups(slices),),
            (_LANES,),
            consts,
            "sample_scores",
            frozenset({"logits", "scores"}),
        ),
        Kernel(
            "sample_token",
            {"scores": scores, "best": best, "sampling": sampling},
            {"tokens": node.output},
            (groups(1),),
            (_LANES,),
            consts,
            "sample_token",
            frozenset({"scores"}),
            touched={"tokens": (1,)},
        ),
    ]
