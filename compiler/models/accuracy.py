"""What fewer bits do to a model's numbers: its logits on a text, against those in f32."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import tokenizers

from intaglio.compiler.ir.errors import BadModel

TOKENS = 512
LEARNT = 256  # tokens from which quantization learns, which are others


def text_tokens(tokenizer: bytes | None, vocabulary: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Two parts of the shipped text by the model's tokenizer, or random tokens without one, i64[1, n] each.

    The first, of TOKENS, is to be measured on, the second, of LEARNT, to learn from; both have at most `most`.
    """
    if tokenizer is None:
        ids = np.random.default_rng(0).integers(0, vocabulary, TOKENS + LEARNT)
    else:
        text = resources.files("intaglio.compiler.models").joinpath("calibration.txt").read_text(encoding="utf-8")
        try:
            tokens = tokenizers.Tokenizer.from_buffer(tokenizer).encode(text, add_special_tokens=False).ids
        except Exception as e:  # the library raises nothing more precise
            raise BadModel(f"tokenizer.json is broken: {e}; save the model's tokenizer again") from e
        ids = np.array([i for i in tokens if i < vocabulary], np.int64)
    return ids[None, :TOKENS][:, :most], ids[None, -LEARNT:][:, :most]


def compare(reference: np.ndarray, logits: np.ndarray, ids: np.ndarray) -> dict[str, Any]:
    """For the report. Logits are f32[1, n, vocabulary], those after token i of `ids` i64[1, n] in row i."""
    expected, actual = reference[0], logits[0]
    difference = np.abs(expected - actual)
    return {
        "tokens": len(expected),
        "logits_max_difference": float(difference.max()),
        "logits_mean_difference": float(difference.mean(dtype=np.float64)),
        "top1_agreement": float((expected.argmax(-1) == actual.argmax(-1)).mean()),
        "perplexity": _perplexity(actual, ids[0]),
        "perplexity_f32": _perplexity(expected, ids[0]),
    }


def _perplexity(logits: np.ndarray, ids: np.ndarray) -> float:
    """exp of the mean negative log-likelihood of each token after those before it."""
    return float(np.exp(np.mean([_surprise(row, token) for row, token in zip(logits[:-1], ids[1:], strict=True)])))


def _surprise(logits: np.ndarray, token: int) -> np.float64:
    """The negative log-likelihood of a token."""
    x = logits.astype(np.float64)
    highest = x.max()
    return np.log(np.exp(x - highest).sum()) + highest - x[token]
