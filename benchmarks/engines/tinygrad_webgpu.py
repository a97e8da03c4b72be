"""tinygrad on WebGPU, through Dawn: Whisper's encoder and plain products by its ONNX frontend, SmolLM2 from GGUF by its
own model, which keeps the 4-bit weights as f16.

What grows with every token, its ONNX frontend builds new kernels for each time: Whisper's decoder and SmolLM2 in f32
are left out.
"""

from __future__ import annotations

import os
import platform
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pydawn

from benchmarks.engines.engine import Engine, First, Unsupported

# It looks at these when it is imported.
os.environ.setdefault(
    "WEBGPU_PATH",
    f"{pydawn.__path__[0]}/lib/libwebgpu_dawn_{platform.machine()}.{'dylib' if sys.platform == 'darwin' else 'so'}",
)
os.environ["DEV"] = "WEBGPU"

from tinygrad import Device, Tensor, TinyJit

CONTEXT = 512  # tokens, more than a prompt and what follows


class TinygradWebGpu(Engine):
    package = "tinygrad"
    _product: Tensor  # of the last multiplication

    def load(self, model: str) -> None:
        if model == "smollm2-q4":
            self._language = _language(self.models.gguf)
        else:
            whisper = model == "whisper"
            path = self.models.whisper / "encoder_model.onnx" if whisper else self.models.kernel_onnx(model)
            self._run = _onnx(path)

    def adapter(self) -> str:
        return f"{Device.DEFAULT}, through Dawn"

    def encode(self, features: np.ndarray) -> np.ndarray:
        return self._run(Tensor(features)).numpy()

    def transcribe(self, recording: Path, first: First) -> list[int]:
        raise Unsupported("its ONNX frontend builds new kernels for every token of Whisper's decoder")

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        tokens = []
        for token in self._language.generate(list(prompt)):
            if not tokens:
                first()
            tokens.append(token)
            if len(tokens) == count:
                break
        return tokens

    def logits(self, prompt: Sequence[int]) -> np.ndarray:
        """By the parts of its model, which itself gives tokens alone."""
        x = self._language.token_embd(Tensor([list(prompt)])).float()
        for block in self._language.blk:
            x = block(x, 0)
        self._language._cached_tokens = []
        return self._language.output(self._language.output_norm(x[:, -1:])).numpy().reshape(-1).astype(np.float32)

    def multiply(self, x: np.ndarray) -> Callable[[], None]:
        vector = Tensor(x).realize()

        def once() -> None:
            self._product = self._run(vector)
            Device[Device.DEFAULT].synchronize()

        return once

    def product(self) -> np.ndarray:
        return self._product.numpy()


def _language(gguf: Path) -> Any:
    try:
        from tinygrad.llm.model import Transformer
    except ImportError as broken:
        raise Unsupported(f"this tinygrad's own language models do not import: {broken}") from None
    model, _ = Transformer.from_gguf(gguf, max_context=CONTEXT, realize=True)
    return model


def _onnx(path: Path) -> Callable[[Tensor], Tensor]:
    """An ONNX model of one input and one output, its kernels recorded."""
    from tinygrad.nn.onnx import OnnxRunner

    runner = OnnxRunner(path)
    (name,), (result,) = runner.graph_inputs, runner.graph_outputs
    return TinyJit(lambda x: runner({name: x})[result].realize())
