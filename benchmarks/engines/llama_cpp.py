"""llama.cpp through cyllama, on the CPU or through Vulkan: GPUs that it sees it uses, see adapter.environment.

The weights are SmolLM2's as its package carries them, in Q4_1: blocks of 32 with a scale and a minimum.
"""

from __future__ import annotations

import os
from collections.abc import Sequence

import numpy as np
from cyllama.llama import llama_cpp

from benchmarks.engines.engine import Engine, First, Unsupported

CONTEXT = 512  # tokens, more than a prompt and what follows
ALL = 999  # layers go to the GPU, if there is one


class _Model(llama_cpp.LlamaModel):
    """cyllama 0.2.18 asks its model for this when it hands logits out, which has it not."""

    @property
    def n_vocab(self) -> int:
        return self.get_vocab().n_vocab


class LlamaCppCpu(Engine):
    package = "cyllama-vulkan"

    def load(self, model: str) -> None:
        llama_cpp.disable_logging()
        llama_cpp.ggml_backend_load_all()
        options = llama_cpp.LlamaModelParams()
        options.n_gpu_layers = ALL
        self._model = _Model(str(self.models.gguf), options)
        options = llama_cpp.LlamaContextParams()
        options.n_ctx = options.n_batch = CONTEXT
        options.n_threads = options.n_threads_batch = os.cpu_count()
        self._context = llama_cpp.LlamaContext(self._model, options)
        self._sampler = llama_cpp.LlamaSampler(llama_cpp.LlamaSamplerChainParams())
        self._sampler.add_greedy()

    def adapter(self) -> str:
        return ggml_device(llama_cpp.ggml_backend_dev_info())

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        self._prefill(prompt)
        tokens = [self._sampler.sample(self._context, -1)]
        first()
        while len(tokens) < count:
            self._decode(tokens[-1:], len(prompt) + len(tokens) - 1)
            tokens.append(self._sampler.sample(self._context, -1))
        return tokens

    def logits(self, prompt: Sequence[int]) -> np.ndarray:
        self._prefill(prompt)
        return np.array(self._context.get_logits_ith(-1), np.float32)

    def _prefill(self, prompt: Sequence[int]) -> None:
        self._context.kv_cache_clear()
        self._decode(prompt, 0)

    def _decode(self, tokens: Sequence[int], position: int) -> None:
        self._context.decode(llama_cpp.llama_batch_get_one(list(tokens), position))


class LlamaCppVulkan(LlamaCppCpu):
    def load(self, model: str) -> None:
        super().load(model)
        if self.adapter() == "CPU":
            raise Unsupported("ggml sees no Vulkan device")


def ggml_device(devices: list[dict[str, str]]) -> str:
    """The GPU that ggml takes, or "CPU" where it is shown none."""
    return next((device["description"] for device in devices if device["type"] != "CPU"), "CPU")
