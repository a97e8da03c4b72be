"""Sampling: kernels choose the next token on the adapter and write it where the next step reads it."""

from __future__ import annotations

from typing import Any

from intaglio.codegen import wgsl
from intaglio.codegen.kernel import Kernel, groups, own
from intaglio.codegen.target import MAX_INVOCATIONS
from intaglio.compiler.ir.dims import fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import SampleToken, WhisperToken
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.contract import SAMPLING_OPTIONS, WHISPER_SAMPLING

_LANES = MAX_INVOCATIONS
SLICE = 8192  # tokens of which a workgroup finds the best one
WHISPER_SLICE = 2048  # the same of a Whisper, whose workgroups also add probabilities up
WHISPER_LANES = 32  # of the workgroup that joins the slices of a Whisper
SLICE_WORDS = 10  # what a Whisper's workgroup writes: see templates/token/whisper_slices


@own(WhisperToken)
def whisper_token(node: Node, of: WhisperToken[Value]) -> list[Kernel]:
    """Return a kernel that finds the best text and the best time of each slice of the vocabulary, and sums
    probabilities up, and one that chooses among those."""
    vocabulary = fixed(of.logits.shape[-1])
    slices = -(-vocabulary // WHISPER_SLICE)
    token, scores = node.outputs
    best = Value(f"{token.name}.best", TensorType("u32", (slices, SLICE_WORDS)))
    times = {name: wgsl.size(size) for name, size in (("at", of.at), ("timed", of.timed), ("seed", of.seed))}
    consts: dict[str, Any] = {**times, "begin": wgsl.size(of.begin), "vocabulary": vocabulary, "lanes": _LANES}
    consts |= {"slice": WHISPER_SLICE, "slices": slices, "words": SLICE_WORDS, "sampling": WHISPER_SAMPLING}
    consts |= {"end": of.end, "no_timestamps": of.no_timestamps, "first_timestamp": of.first_timestamp}
    reads = {"logits": of.logits, "suppress": of.suppress, "sampling": of.sampling, "tokens": of.tokens}
    choice = {"at": times["at"], "timed": times["timed"], "slices": slices, "words": SLICE_WORDS}
    choice |= {"no_speech": of.no_speech, "end": of.end, "lanes": WHISPER_LANES}
    return [
        Kernel(
            "whisper_slices",
            reads,
            {"best": best},
            (groups(slices),),
            (_LANES,),
            consts,
            "whisper_slices",
            frozenset({"logits"}),
            touched={"tokens": (1,)},
        ),
        Kernel(
            "whisper_token",
            {"best": best, "logits": of.logits},
            {"tokens": token, "scores": scores},
            (groups(1),),
            (WHISPER_LANES,),
            choice,
            "whisper_token",
            touched={"logits": (2,), "tokens": (1,), "scores": (2,)},
        ),
    ]


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
