"""Random small decoders: heads, groups, widths, layers, vocabularies and lengths as they come, against onnxruntime."""

from __future__ import annotations

import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from language_reference import LanguageReference

import intaglio
from benchmarks import random_llama

CONTEXT = 72  # a chunk of prefill is as long
LENGTHS = st.sampled_from([1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 31, 32, 33, 63, 64, 65])


@st.composite
def configs(draw: st.DrawFn) -> dict[str, Any]:
    groups, head_dim = draw(st.integers(1, 3)), 2 * draw(st.integers(1, 20))
    heads = groups * draw(st.integers(1, 3))
    return {
        "hidden_size": heads * head_dim,
        "intermediate_size": draw(st.integers(1, 70)),
        "num_hidden_layers": draw(st.integers(1, 3)),
        "num_attention_heads": heads,
        "num_key_value_heads": groups,
        "vocab_size": draw(st.integers(2, 200)),
        "rms_norm_eps": 1e-5,
        "rope_theta": 10_000.0,
        "max_position_embeddings": CONTEXT,
        "architectures": ["LlamaForCausalLM"],
    }


@settings(max_examples=10, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow])
@given(config=configs(), length=LENGTHS, seed=st.integers(0, 2**32 - 1))
def test_random_decoders(config: dict[str, Any], length: int, seed: int) -> None:
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / "model"
        folder.mkdir()
        random_llama.write(config, folder, seed)
        bundle = intaglio.compile(folder, Path(temporary) / "bundle")
        reference = LanguageReference(folder)
        ids = np.random.default_rng(seed).integers(0, config["vocab_size"], length).tolist()
        expected = reference.logits(ids)
        np.testing.assert_allclose(bundle.logits(ids), expected, rtol=0, atol=2e-3)  # by the step
        made = bundle.generate(ids, max_tokens=4, ignore_eos=True, logprobs=1)  # by prefill, then the step
        most = expected[-1].max()
        assert expected[-1][made.tokens[0]] >= most - 2e-3
        after = reference.logits(ids + made.tokens)
        for i, token in enumerate(made.tokens):
            row = after[length - 1 + i]
            assert row[token] >= row.max() - 2e-3
