"""Our own operators: one dataclass each for operations that take several operators in ONNX.

Operands have names. T is the type of an operand: Value in a graph, array where numpy evaluates the operator.
compiler/semantics/operators.py defines what each operator computes.
"""

from __future__ import annotations

from dataclasses import KW_ONLY, dataclass
from typing import Any, Generic

from intaglio.compiler.ir.dims import Dim
from intaglio.compiler.ir.expression import Expression
from intaglio.compiler.ir.nodes import CacheWrite, Node, Operator, T, operands
from intaglio.compiler.ir.values import Value


@dataclass(frozen=True)
class Elementwise(Operator[T]):
    """An expression (see compiler/ir/expression.py) of operands that broadcast together. Argument x2 is operands[2]."""

    operands: tuple[T, ...]
    steps: Expression


@dataclass(frozen=True)
class Window:
    """Windows of `kernel` consecutive rows, `stride` rows apart, with `pad` rows of zeros at both ends."""

    kernel: int
    stride: int
    pad: int


@dataclass(frozen=True)
class Prologue(Generic[T]):
    """A norm of the rows that a layer reads. `kind` is layernorm or rmsnorm; rmsnorm has no shift."""

    kind: str
    epsilon: float
    scale: T
    shift: T | None = None


@dataclass(frozen=True)
class RotaryTail(Generic[T]):
    """A rotation of the heads in the outputs with these numbers, as by Rotary, by the angles from row `at` on.

    head_dim: the columns of a head.
    """

    cos: T
    sin: T
    outputs: tuple[int, ...]
    at: Dim
    head_dim: int
    interleaved: bool


@dataclass(frozen=True)
class Linear(Operator[T]):
    """x [..., k] times weight [n, k] transposed, plus bias [n].

    splits: the number of columns of each output; empty for one output. gate: an expression of the two halves of the
    columns, "acc" and "acc1", which replaces them as the result.
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
        """Whether the layer has only a product and an optional bias."""
        return self == Linear(self.x, self.weight, self.bias)


@dataclass(frozen=True)
class HeadNorm(Generic[T]):
    """An RMS norm of each head, with one scale [head_dim] for each entry of Rotary.rows."""

    epsilon: float
    scales: tuple[T, ...]


@dataclass(frozen=True)
class Rotary(Operator[T]):
    """Rotary embeddings (Su et al. 2021) of each of `rows` [1, T, heads * head_dim]. The first columns of each head are
    rotated in pairs, by the angles in cos and sin [positions, pairs] from row `past` on.

    interleaved: a pair is two neighbouring columns. Otherwise a pair has the same column of both halves.
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
class PositionBias(Generic[T]):
    """Numbers that are added to the scores of each head (ALiBi, Press et al. 2022; T5, Raffel et al. 2020).

    table: f32[heads, positions]. by: what chooses the column for query t and key s: "key", which is s, or "distance",
    which is past + t - s.
    """

    table: T
    by: str


@dataclass(frozen=True)
class Attention(Operator[T]):
    """softmax(q kᵀ * scale + bias + mask) v of token rows: q [1, T, heads * head_dim], k and v [1, S, kv_heads *
    head_dim], or rows of a cache [1, kv_heads, S, head_dim].

    past: query t sees the keys up to `past` + t, which may lie after the last key, or all keys if `past` is None.
    window: query t sees only the last `window` of these. cap: scores become tanh(score / cap) * cap. bias: only with
    `past`. scored, masked, weighed: expressions of "acc" for scores, masked scores and weights.
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
    bias: PositionBias[T] | None = None
    scored: Expression = ()
    masked: Expression = ()
    weighed: Expression = ()


@dataclass(frozen=True)
class Write(Operator[T]):
    """A write of `rows` [..., T, n] into `state` [..., S, n] from row `at` on. The result ends at the last new row.

    A cache has its rows head by head: `rows` [1, T, heads * n] go into a state [1, heads, S, n], and the result
    [1, heads, at + T, n], which is not one piece of memory, has attention as its only reader.
    """

    rows: T
    state: T
    _: KW_ONLY
    at: Dim

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return (CacheWrite(0, self.state, self.at),)


@dataclass(frozen=True)
class FakeQuantize(Operator[T]):
    """x rounded to 8 bits and back: to codes from `low` to `high` with `scale` and zero point `zero`. Without these
    operands, x is rounded to 256 steps over its own range (ONNX's DynamicQuantizeLinear).
    """

    x: T
    scale: T | None = None
    zero: T | None = None
    _: KW_ONLY
    low: float | None = None
    high: float | None = None


@dataclass(frozen=True)
class Resample(Operator[T]):
    """A weighted sum: along `axis`, element i is the sum of x[places[i]] * weights[i]; both are [n, taps]."""

    x: T
    places: T
    weights: T
    _: KW_ONLY
    axis: int


@dataclass(frozen=True)
class Recurrent(Operator[T]):
    """A recurrent layer after the input products of its gates: see compiler/expansions/recurrent.py.

    rounded: the state of a sequence is rounded to 8 bits in its range, as FakeQuantize does it, before its products.
    """

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
    rounded: bool


@dataclass(frozen=True)
class WhisperToken(Operator[T]):
    """A token that Whisper's rules allow, the most likely one or drawn, written into row `at` of the state `tokens`.

    Row `at` of the state `scores` becomes its log-probability under the rules, and the probability of the token
    `no_speech` without them. suppress: two sets of tokens, one bit each: never chosen, and not chosen first.
    sampling: the values of WHISPER_SAMPLING. begin: the row of the first token after the prompt. timed: 1 if timestamps
    are requested.
    """

    logits: T
    suppress: T
    sampling: T
    tokens: T
    scores: T
    _: KW_ONLY
    at: Dim
    begin: Dim
    timed: Dim
    seed: Dim
    end: int
    no_timestamps: int
    first_timestamp: int
    no_speech: int

    @property
    def writes(self) -> tuple[CacheWrite[T], ...]:
        return CacheWrite(0, self.tokens, self.at), CacheWrite(1, self.scores, self.at)


@dataclass(frozen=True)
class SampleToken(Operator[T]):
    """A token sampled from the logits with the options in `sampling`, written into row `at` of the state `tokens`.

    drawn: 1 where tokens are drawn, else 0. It only chooses kernels, which all obey `sampling`.
    """

    logits: T
    sampling: T
    tokens: T
    _: KW_ONLY
    at: Dim
    seed: Dim
    drawn: Dim

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
    """Return a node of the operator named `op`, which is one of ours or of ONNX."""
    if op in OWN:
        return Node.of(OWN[op](*inputs, **attrs), outputs, sources)
    return Node(op, operands(inputs), outputs, attrs, sources)
