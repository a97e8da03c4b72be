"""Whether engines say the same: their tokens, and their numbers.

Every engine rounds to four bits in its own way. There the report says how far each one's scores are from those in
f32: by the Kullback-Leibler divergence of the probabilities of the next token, in nats. An engine is wrong if it is
more than a quarter as far off as one that knows nothing and finds all tokens equally likely.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

from benchmarks.report import OURS, Results

# Of the largest difference from our numbers.
TOLERANCES = {"encode": 1e-3, "transcribe": 0.0, "smollm2-f32": 2e-3, "matmul": 1e-3, "matvec": 2e-2}
QUANTIZED = "smollm2-q4"
ABSURD = 0.25

Numbers = Mapping[tuple[str, str], np.ndarray]  # what is compared, by workload and engine


def disagreements(results: Results, numbers: Numbers, tolerances: Mapping[str, float]) -> list[str]:
    """Where an engine says something else than ours: other tokens, or numbers that differ by more than the tolerance.

    Workloads without a tolerance are not to be compared.
    """
    lines = []
    for workload, tolerance in tolerances.items():
        engines = results.get(workload, {})
        if workload in results and not engines.get(OURS):
            lines.append(f"{workload}: {OURS} has no result")
            continue
        for name, of in engines.items():
            if name == OURS or not of:
                continue
            if of[0]["tokens"][:2] != engines[OURS][0]["tokens"][:2]:  # the first run, and a counted one
                lines.append(f"{workload}: {name} gives other tokens than {OURS}")
            other, own = numbers.get((workload, name)), numbers.get((workload, OURS))
            if other is not None and own is not None:
                difference = float(np.abs(other.reshape(-1) - own.reshape(-1)).max())
                if not difference <= tolerance:
                    lines.append(f"{workload}: {name} differs from {OURS} by {difference:.2g}, more than {tolerance}")
    return lines


def divergences(numbers: Numbers, reference: np.ndarray) -> dict[str, float]:
    """Nats from the reference to each engine's 4-bit scores, a mean over prompts. Scores: f32[prompts, vocabulary]."""
    return {
        engine: divergence(reference, scores) for (workload, engine), scores in numbers.items() if workload == QUANTIZED
    }


def divergence(reference: np.ndarray, scores: np.ndarray) -> float:
    p, q = _log_softmax(reference), _log_softmax(scores)
    return float((np.exp(p) * (p - q)).sum(axis=-1).mean())


def absurd(divergences: Mapping[str, float], reference: np.ndarray) -> list[str]:
    most = ABSURD * divergence(reference, np.zeros_like(reference))
    return [
        f"{QUANTIZED}: {engine} is {nats:.2g} nats from the scores in f32, more than {most:.2g}"
        for engine, nats in divergences.items()
        if not nats <= most
    ]


def _log_softmax(scores: np.ndarray) -> np.ndarray:
    scores = scores.astype(np.float64)
    scores = scores - scores.max(axis=-1, keepdims=True)
    return scores - np.log(np.exp(scores).sum(axis=-1, keepdims=True))
