"""The accuracy of a quantized model: its logits on a text, compared with those in f32."""

from __future__ import annotations

from importlib import resources
from typing import Any

import numpy as np
import tokenizers

from intaglio.compiler.ir.errors import BadModel

TOKENS = 512
LEARNT = 256  # tokens to calibrate quantization on, which differ from the first TOKENS


def text_tokens(tokenizer: bytes | None, vocabulary: int, most: int) -> tuple[np.ndarray, np.ndarray]:
    """Return two parts of the shipped text in tokens i64[1, n], or random tokens if there is no tokenizer.

    The first part has up to TOKENS tokens to measure accuracy on. The second has up to LEARNT tokens to calibrate on.
    Both have up to `most` tokens. Raises BadModel if the tokenizer is broken.
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
    """Return the measures of accuracy for the report.

    Both logits are f32[1, n, vocabulary], with those after token i of `ids` i64[1, n] in row i.
    """
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
    """Return the exponential of the mean negative log-likelihood of each token after the first."""
    return float(np.exp(np.mean([_surprise(row, token) for row, token in zip(logits[:-1], ids[1:], strict=True)])))


def _surprise(logits: np.ndarray, token: int) -> np.float64:
    """Return the negative log-likelihood of a token."""
    x = logits.astype(np.float64)
    highest = x.max()
    return np.log(np.exp(x - highest).sum()) + highest - x[token]
