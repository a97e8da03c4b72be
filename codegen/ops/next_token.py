"""Sampling: kernels choose the next token on the adapter and write it where the next step reads it."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from intaglio.codegen import profiles, wgsl
from intaglio.codegen.kernel import Kernel, groups, own
from intaglio.codegen.target import MAX_INVOCATIONS
from intaglio.compiler.ir.dims import Dim, fixed
from intaglio.compiler.ir.nodes import Node
from intaglio.compiler.ir.operators import SampleToken, WhisperToken
from intaglio.compiler.ir.values import TensorType, Value
from intaglio.runtime.contract import SAMPLING_OPTIONS, WHISPER_SAMPLING

_LANES = MAX_INVOCATIONS
_SCORED = 8192  # tokens of which a workgroup finds the best one
SLICE = 4096  # tokens of a workgroup that draws
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
    logits, vocabulary, name = of.logits, fixed(of.logits.shape[-1]), node.output.name
    slices = -(-vocabulary // _SCORED)
    scores = Value(f"{name}.scores", TensorType("f32", (vocabulary + -vocabulary % 4,)))
    best = Value(f"{name}.best", TensorType("u32", (slices, 2)))
    consts = {"vocabulary": vocabulary, "scored": _SCORED, "slices": slices, "sampling": SAMPLING_OPTIONS}
    consts |= {"at": wgsl.size(of.at), "seed": wgsl.size(of.seed), "lanes": _LANES}
    reads = {"logits": logits, "sampling": of.sampling, "tokens": of.tokens}
    writes = {"scores": scores, "best": best}
    score = _kernel("sample_scores", slices, reads, writes, consts)
    one = _kernel("sample_token", 1, writes | {"sampling": of.sampling}, {"tokens": node.output}, consts, tokens=1)
    variants = {
        "one": {"grid": one.grid, "workgroup": one.workgroup, "consts": {}},
        "slices": _in_slices(node, of, writes, consts),
    }
    return [score, one.with_variants(f"sample_token {vocabulary}", variants, profiles.drawing(of.drawn))]


def _in_slices(node: Node, of: SampleToken[Value], scored: dict[str, Value], consts: dict[str, Any]) -> dict[str, Any]:
    """Return a variant that draws by many workgroups, each of a slice of the vocabulary.

    A first dispatch counts the scores in bins. A second one draws of the bins that are surely kept, and lists the
    tokens where the limits of top-k and top-p lie. A third one finds the limits, and draws.
    """
    name = node.output.name
    parts = -(-consts["vocabulary"] // SLICE)
    scratch = {
        "bins": TensorType("f32", (parts, _LANES, 2)),
        "drawn": TensorType("u32", (parts, 3)),
        "listed": TensorType("u32", (parts * SLICE, 2)),
        "totals": TensorType("f32", (_LANES, 2)),
    }
    own = {key: Value(f"{name}.{key}", type) for key, type in scratch.items()}
    bins, results = {"bins": own.pop("bins")}, own
    drawing = {"best": scored["best"], "sampling": of.sampling}
    consts = consts | {"slice": SLICE, "parts": parts}
    first = _kernel("sample_bins", parts, scored | drawing, bins, consts)
    second = _kernel("sample_slices", parts, scored | drawing | bins, results, consts, listed=2 * parts)
    last = {"tokens": node.output}
    third = _kernel("sample_listed", 1, results | drawing, last, consts, listed=2 * parts, tokens=1)
    fields = ("template", "reads", "writes", "grid", "workgroup", "consts", "label", "vec4", "touched")
    return {field: getattr(first, field) for field in fields} | {"then": (second, third)}


def _kernel(
    name: str,
    count: int,
    reads: Mapping[str, Value],
    writes: Mapping[str, Value],
    consts: dict[str, Any],
    **touched: Dim,
) -> Kernel:
    """Return a kernel of so many workgroups; of the operands in `touched` it accesses only so many elements."""
    parts = {name: (size,) for name, size in touched.items()}
    fours = frozenset({"logits", "scores"} & {*reads, *writes})
    return Kernel(name, reads, writes, (groups(count),), (_LANES,), consts, name, fours, touched=parts)
