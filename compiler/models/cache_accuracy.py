"""What caches in f16 change of a decoder: its next-token probabilities on a text, compared with those of caches in f32.

Where they change nothing that a user can see, classes of GPUs store caches in f16, which halves what attention reads.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from intaglio.compiler.ir.values import Value
from intaglio.compiler.models.model import Decoder
from intaglio.compiler.semantics import evaluate
from intaglio.runtime.contract import LOGITS

TOKENS = 32  # of the text
# In nats. A divergence is about half of the mean square of errors of logits, and golden values allow 2e-3 of each.
MOST_DIVERGENCE = 2e-6
MOST_NUMBER = 4096.0  # a sixteenth of the largest f16, because another text may have larger numbers


@dataclass(frozen=True)
class CacheAccuracy:
    """What caches in f16 change on a text.

    tokens: of the text. divergence: the mean over tokens of the Kullback-Leibler divergence of the next token's
    probabilities from those with caches in f32, in nats. changed_tokens: how many most probable next tokens differ.
    largest: the largest absolute number in the caches.
    """

    tokens: int
    divergence: float
    changed_tokens: int
    largest: float

    @property
    def free(self) -> bool:
        """Whether caches in f16 cost nothing. NaN is above every bound."""
        return self.divergence <= MOST_DIVERGENCE and not self.changed_tokens and self.largest <= MOST_NUMBER

    def report(self) -> dict[str, Any]:
        """Return the part of the bundle's report about caches on GPUs. A number that is not finite is None."""
        numbers = {name: x if np.isfinite(x) else None for name, x in asdict(self).items()}
        bounds = {"most_divergence": MOST_DIVERGENCE, "most_number": MOST_NUMBER}
        return {"on_gpus": "f16" if self.free else "f32", **numbers, **bounds}


def measure(decoder: Decoder, ids: np.ndarray) -> CacheAccuracy | None:
    """Return what caches in f16 change on the first TOKENS of ids i64[1, n]. Return None if none can be halved."""
    ids = ids[:, :TOKENS]
    feeds, symbols = decoder.feeds(ids)
    caches = {v.name for v in decoder.graph.states if len(v.shape) == 4 and v.dtype == "f32"}
    if not caches:
        return None
    halves = {name: array.astype(np.float16) if name in caches else array for name, array in feeds.items()}
    expected, written = _run(decoder, feeds, symbols)
    actual, _ = _run(decoder, halves, symbols)
    largest = max(float(np.abs(array).max()) for array in (*written, *(feeds[name] for name in caches)))
    changed = int((expected.argmax(-1) != actual.argmax(-1)).sum())
    return CacheAccuracy(ids.shape[1], divergence(expected, actual), changed, largest)


def divergence(expected: np.ndarray, actual: np.ndarray) -> float:
    """Return the mean over rows of the Kullback-Leibler divergence, in nats, of probabilities with logits [n, N]."""
    right, other = _log_probabilities(expected), _log_probabilities(actual)
    return float((np.exp(right) * (right - other)).sum(-1).mean())


def _log_probabilities(logits: np.ndarray) -> np.ndarray:
    x = logits.astype(np.float64)
    x -= x.max(-1, keepdims=True)
    return x - np.log(np.exp(x).sum(-1, keepdims=True))


def _run(
    decoder: Decoder, feeds: Mapping[str, np.ndarray], symbols: Mapping[str, int]
) -> tuple[np.ndarray, list[np.ndarray]]:
    """Return the logits [n, vocabulary], and what is written into caches. Those have the types of `feeds`."""
    graph = decoder.graph
    (logits,) = (v for v in graph.outputs if v.name == LOGITS)
    written: list[Value] = [out for node in graph.nodes for out in node.written]
    values = {v: feeds[v.name] for v in (*graph.inputs, *graph.states)}
    results = evaluate.compute(graph, graph.nodes, values, symbols, [logits, *written])
    return results[logits][0], [results[v] for v in written]
