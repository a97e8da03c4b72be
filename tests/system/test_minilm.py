"""A real text encoder, all-MiniLM-L6-v2 with weights in 8 bits, against onnxruntime on the same file."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import onnxruntime
import pytest
from tokenizers import Tokenizer

import intaglio
from intaglio import Bundle

TEXTS = (
    "How do I reset my password?",
    "I forgot my login and cannot sign in.",
    "The harvest was late because of the rain.",
    "And so my fellow Americans ask not what your country can do for you. " * 12,
)


@pytest.fixture(scope="module")
def bundle(minilm_bundle: Path) -> Bundle:
    return intaglio.load(minilm_bundle)


def test_rows_are_those_of_onnxruntime(minilm_export: Path, bundle: Bundle) -> None:
    tokenizer = Tokenizer.from_file(str(minilm_export / "tokenizer.json"))
    tokenizer.no_padding()
    tokenizer.no_truncation()
    session = onnxruntime.InferenceSession(minilm_export / "model.onnx", providers=["CPUExecutionProvider"])
    expected = []
    for text in TEXTS:
        encoding = tokenizer.encode(text)
        feeds = {
            "input_ids": encoding.ids,
            "attention_mask": encoding.attention_mask,
            "token_type_ids": [0] * len(encoding),
        }
        (rows,) = session.run(None, {name: np.array([numbers]) for name, numbers in feeds.items()})
        row = np.asarray(rows)[0].mean(0)
        expected.append(row / np.linalg.norm(row))
    ours = bundle.embed(TEXTS)
    np.testing.assert_allclose(ours, expected, rtol=0, atol=1e-4)
    likeness = ours @ ours.T
    assert likeness[0, 1] > 0.5 > likeness[0, 2]


def test_verify(bundle: Bundle) -> None:
    assert all(result.passed for result in bundle.verify())
