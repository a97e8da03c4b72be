"""Real weights, real text: SmolLM2-135M-Instruct gives the tokens that onnxruntime gives, and answers."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from language_reference import LanguageReference
from tokenizers import Tokenizer

import intaglio
from intaglio import Bundle

TEXT = (Path(__file__).parents[1] / "fixtures" / "text.txt").read_text(encoding="utf-8")
QUESTION = "<|im_start|>user\nWhat is the capital of France?<|im_end|>\n<|im_start|>assistant\n"
# The chosen token leads the next by 0.04 or more everywhere.
PROMPTS = ["Once upon a time", "def fibonacci(n):\n", "Water boils at", "1, 2, 3, 4,", QUESTION]
LAYERS = 30


@pytest.fixture(scope="module")
def bundle(smollm2_bundle: Path) -> Bundle:
    return intaglio.load(smollm2_bundle)


@pytest.fixture(scope="module")
def reference(smollm2_export: Path) -> LanguageReference:
    return LanguageReference(smollm2_export)


@pytest.fixture(scope="module")
def tokenizer(smollm2_export: Path) -> Tokenizer:
    return Tokenizer.from_file(str(smollm2_export / "tokenizer.json"))


def test_logits_agree(bundle: Bundle, reference: LanguageReference, tokenizer: Tokenizer) -> None:
    ids = tokenizer.encode(TEXT).ids[:40]
    np.testing.assert_allclose(bundle.logits(ids), reference.logits(ids), rtol=0, atol=2e-3)


@pytest.mark.parametrize("prompt", PROMPTS)
def test_tokens_are_those_of_onnxruntime(
    bundle: Bundle, reference: LanguageReference, tokenizer: Tokenizer, prompt: str
) -> None:
    expected = reference.greedy(tokenizer.encode(prompt).ids, 64)
    assert bundle.generate(prompt, max_tokens=64, ignore_eos=True).tokens == expected


def test_a_long_prompt_works(bundle: Bundle, reference: LanguageReference, tokenizer: Tokenizer) -> None:
    ids = (tokenizer.encode(TEXT).ids * 3)[:1500]
    assert bundle.generate(ids, max_tokens=8, ignore_eos=True).tokens == reference.greedy(ids, 8)


def test_it_answers(bundle: Bundle) -> None:
    answer = bundle.chat([{"role": "user", "content": "What is the capital of France?"}], max_tokens=32)
    assert answer.text == "The capital of France is Paris."


def test_a_layer_takes_at_most_seven_dispatches(bundle: Bundle) -> None:
    report = json.loads((bundle.folder / "report.json").read_text())
    assert report["dispatches_per_token"] <= 7 * LAYERS + 4
