"""Our own operators: what ONNX's become where a model means more than one of them says, a dataclass for each.

Operands have names. T is what stands for one: a Value in a graph, an array where numpy evaluates the operator (see
compiler/semantics/operators.py, which says what each computes).
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.graph import CacheWrite, Node, Operator, T, Value, operands


@dataclass(frozen=True)
class Elementwise(Operator[T]):
    """An expression (see compiler/ir/expression.py) of operands that broadcast together; x2 in it is operands[2]."""

    operands: tuple[T, ...]
    steps: Expression


@dataclass(frozen=True)
class Window:
    """Rows of `kernel` consecutive rows, every `stride`, with `pad` rows of zeros at both ends."""

    kernel: int
    stride: int
    pad: int


@dataclass(frozen=True)
class Prologue(Generic[T]):
    """A norm of the rows that a layer reads: `kind` is layernorm, or rmsnorm, which has no shift."""

    kind: str
    epsilon: float
    scale: T
    shift: T | None = None


@dataclass(frozen=True)
class RotaryTail(Generic[T]):
    """The outputs of these numbers are heads that are rotated, as by Rotary, by the angles of row `at`."""

    cos: T
    sin: T
    outputs: tuple[int, ...]
    at: Dim


@dataclass(frozen=True)
class Linear(Operator[T]):
    """x [..., k] times weight [n, k] transposed, plus bias [n].

    splits: the columns of each output; empty where all go to one. gate: an expression of two halves of the columns,
    "acc" and "acc1", which is the result then.
    """

    x: T
    weight: T
    bias: T | None = None
    _: KW_ONLY
    window: Window | None = None
    splits: tuple[int, ...] = ()
    prologue: Prologue[T] | None = None
    gate: Expression = ()
    rotary: RotaryTail[T] | None = None
    cached: tuple[CacheWrite[T], ...] = ()

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return self.cached

    @property
    def is_plain(self) -> bool:
        """Whether it is a product, and perhaps a bias, and nothing else."""
        return self == Linear(self.x, self.weight, self.bias)


@dataclass(frozen=True)
class HeadNorm(Generic[T]):
    """An RMS norm of each head, with a scale [head_dim] for each of the rows that are rotated."""

    epsilon: float
    scales: tuple[T, ...]


@dataclass(frozen=True)
class Rotary(Operator[T]):
    """Rotary embeddings (Su et al. 2021): of each of `rows` [1, T, heads * head_dim] the first columns of a head are
    rotated in pairs, by the angles in rows `past` and on of cos and sin [positions, pairs].

    interleaved: a pair is two neighbouring columns; else the same column of the first and of the second half.
    """

    cos: T
    sin: T
    rows: tuple[T, ...]
    _: KW_ONLY
    heads: tuple[int, ...]
    interleaved: bool
    past: Dim
    cached: tuple[CacheWrite[T], ...] = ()
    norm: HeadNorm[T] | None = None

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return self.cached


@dataclass(frozen=True)
class Attention(Operator[T]):
    """softmax(q kᵀ * scale + mask) v of token rows: q [1, T, heads * head_dim], k and v [1, S, kv_heads * head_dim].

    past: query t sees the keys up to `past` + t; all where it is None. window: no more than so many of them.
    cap: scores are tanh(score / cap) * cap. scored, masked, weighed: expressions of "acc" that are applied to scores,
    masked scores and weights.
    """

    q: T
    k: T
    v: T
    mask: T | None = None
    _: KW_ONLY
    heads: int
    kv_heads: int
    scale: float
    past: Dim | None
    cap: float | None = None
    window: int | None = None
    scored: Expression = ()
    masked: Expression = ()
    weighed: Expression = ()


@dataclass(frozen=True)
class Write(Operator[T]):
    """`state` [..., S, n] up to the end of `rows` [..., T, n], which are written into it from row `at` on."""

    rows: T
    state: T
    _: KW_ONLY
    at: Dim

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return (CacheWrite(0, self.state, self.at),)


@dataclass(frozen=True)
class FakeQuantize(Operator[T]):
    """x rounded to 8 bits and back: to steps of `scale` from `zero`, of which `low` to `high` exist; or, without these,
    to 256 steps over the range that x has (ONNX's DynamicQuantizeLinear).
    """

    x: T
    scale: T | None = None
    zero: T | None = None
    _: KW_ONLY
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Resample(Operator[T]):
    """Along `axis`, element i is the sum of x at places[i] times weights[i]; both [n, taps]."""

    x: T
    places: T
    weights: T
    _: KW_ONLY
    axis: int


@dataclass(frozen=True)
class Recurrent(Operator[T]):
    """A recurrent layer whose gates have taken their part of the input: see compiler/expansions/recurrent.py."""

    taken: T
    weight: T
    initial: T
    lengths: T
    extra: T | None
    _: KW_ONLY
    cell: str
    activations: tuple[tuple[Any, ...], ...]
    clip: float | None
    after: bool
    direction: str
    coupled: bool


@dataclass(frozen=True)
class WhisperToken(Operator[T]):
    """The likeliest of the tokens that Whisper's rules allow next, written into row `at` of the state `tokens`.

    suppress, suppress_first: sets of tokens, a bit each. begin: the row of the first token that is not the prompt's.
    timed: 1 if timestamps are requested.
    """

    logits: T
    suppress: T
    suppress_first: T
    tokens: T
    _: KW_ONLY
    at: Dim
    begin: Dim
    timed: Dim
    end: int
    no_timestamps: int
    first_timestamp: int
    max_initial_timestamp: int | None

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return (CacheWrite(0, self.tokens, self.at),)


@dataclass(frozen=True)
class SampleToken(Operator[T]):
    """A token drawn by its score, as the numbers of `sampling` say, written into row `at` of the state `tokens`."""

    logits: T
    sampling: T
    tokens: T
    _: KW_ONLY
    at: Dim
    seed: Dim

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return (CacheWrite(0, self.tokens, self.at),)


OWN: dict[str, type[Operator[Any]]] = {
    operator.__name__: operator
    for operator in (
        Attention,
        Elementwise,
        FakeQuantize,
        Linear,
        Recurrent,
        Resample,
        Rotary,
        SampleToken,
        WhisperToken,
        Write,
    )
}


def node(
    op: str,
    inputs: tuple[Value | None, ...],
    outputs: tuple[Value, ...],
    attrs: dict[str, Any],
    sources: tuple[str, ...] = (),
) -> Node:
    """A node of the operator of that name, be it ours or one of ONNX."""
    if op in OWN:
        return Node.of(OWN[op](*inputs, **attrs), outputs, sources)
    return Node(op, operands(inputs), outputs, attrs, sources)
