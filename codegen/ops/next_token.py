"""Sampling: the next token, chosen on the adapter and left where the next step reads it."""

from __future__ import annotations

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, op, operand
from intaglio.compiler.ir.graph import Node, TensorType, Value
from intaglio.runtime.contract import SAMPLING_OPTIONS

SLICE = 8192  # tokens among which a workgroup looks for the best one


@op("WhisperToken")
def whisper_token(node: Node) -> Kernel:
    logits, suppress, suppress_first, _ = node.inputs
    a = node.attrs
    consts = {k: wgsl.size(a[k]) for k in ("at", "begin", "timed")}
    consts |= {k: a[k] for k in ("end", "no_timestamps", "first_timestamp", "max_initial_timestamp")}
    consts["vocabulary"] = logits.shape[-1]
    reads = {"logits": logits, "suppress": operand(suppress), "suppress_first": operand(suppress_first)}
    writes, touched = {"tokens": node.output}, {"tokens": (1,)}
    return Kernel("whisper_token", reads, writes, (groups(1),), (256,), consts, "whisper_token", touched=touched)


@op("SampleToken")
def sample_token(node: Node) -> list[Kernel]:
    """The best token of each slice, then the best of those; or a token drawn, which takes the scores of all of them."""
    logits, sampling, tokens = node.inputs
    vocabulary = logits.shape[-1]
    slices = -(-vocabulary // SLICE)
    name = node.output.name
    scores = Value(f"{name}.scores", TensorType("f32", (vocabulary + -vocabulary % 4,)))
    best = Value(f"{name}.best", TensorType("u32", (slices, 2)))
    consts = {"vocabulary": vocabulary, "slice": SLICE, "slices": slices, "sampling": SAMPLING_OPTIONS}
    consts |= {k: wgsl.size(node.attrs[k]) for k in ("at", "seed")}
    reads = {"logits": logits, "sampling": sampling, "tokens": tokens}
    return [
        Kernel(
            "sample_scores",
            reads,
            {"scores": scores, "best": best},
            (groups(slices),),
            (256,),
            consts,
            "sample_scores",
            frozenset({"logits", "scores"}),
        ),
        Kernel(
            "sample_token",
            {"scores": scores, "best": best, "sampling": sampling},
            {"tokens": node.output},
            (groups(1),),
            (256,),
            consts,
            "sample_token",
            frozenset({"scores"}),
            touched={"tokens": (1,)},
        ),
    ]
