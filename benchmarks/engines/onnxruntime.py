"""ONNX Runtime on the CPU, and on WebGPU through its plugin: the same models by the same loops.

Everything goes through IO bindings, so that caches stay where the provider has them; only token ids, samples and logits
cross over.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

# The plugin looks at this when it is registered; without it a software adapter is none.
os.environ.setdefault("ORT_WEBGPU_EP_ALLOW_SOFTWARE_ADAPTER", "1")

import onnxruntime as ort

from benchmarks.engines.engine import Engine, First, Unsupported
from benchmarks.speech import log_mel

_NUMPY = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(int64)": np.int64}


class OnnxRuntimeCpu(Engine):
    package = "onnxruntime"
    device = "cpu"

    def load(self, model: str) -> None:
        if model == "whisper":
            self._whisper = Whisper(self._session, self.models.whisper, self.device)
        elif model.startswith("smollm2"):
            self._language = Language(self._session(self.models.language_onnx(model)), self.device)
        else:
            self._plain = self._session(self.models.kernel_onnx(model))

    def encode(self, features: np.ndarray) -> np.ndarray:
        return self._whisper.encode(features, "cpu").numpy()

    def transcribe(self, recording: Path, first: First) -> list[int]:
        return self._whisper.transcribe(recording, first)

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        return self._language.generate(prompt, count, first)

    def logits(self, prompt: Sequence[int]) -> np.ndarray:
        return self._language.prefill(prompt)[0]

    def multiply(self, x: np.ndarray) -> Callable[[], None]:
        self._binding = self._plain.io_binding()
        self._binding.bind_ortvalue_input("x", ort.OrtValue.ortvalue_from_numpy(x, "cpu"))
        self._binding.bind_output("y", "cpu")
        return lambda: self._plain.run_with_iobinding(self._binding)

    def product(self) -> np.ndarray:
        return self._binding.copy_outputs_to_cpu()[0]

    def _session(self, path: Path) -> ort.InferenceSession:
        return ort.InferenceSession(path, self._options(), providers=self._providers())

    def _options(self) -> ort.SessionOptions:
        options = ort.SessionOptions()
        options.log_severity_level = 3
        return options

    def _providers(self) -> list[str] | None:
        return ["CPUExecutionProvider"]


class OnnxRuntimeWebGpu(OnnxRuntimeCpu):
    package = "onnxruntime-ep-webgpu"
    device = "gpu"

    def load(self, model: str) -> None:
        import onnxruntime_ep_webgpu as plugin

        ort.register_execution_provider_library("webgpu", plugin.get_library_path())
        self._devices = [d for d in ort.get_ep_devices() if d.ep_name == plugin.get_ep_name()][:1]
        if not self._devices:
            raise Unsupported("the WebGPU provider finds no device")
        super().load(model)

    def adapter(self) -> str:
        return f"{self._devices[0].device.type.name} device, through Dawn"

    def _options(self) -> ort.SessionOptions:
        options = super()._options()
        options.add_provider_for_devices(self._devices, {})
        return options

    def _providers(self) -> None:
        """They are in the options."""

    def _session(self, path: Path) -> ort.InferenceSession:
        session = super()._session(path)
        # Where the adapter fails, onnxruntime falls back to the CPU without a word.
        if session.get_providers()[0] != self._devices[0].ep_name:
            raise Unsupported(f"it fell back to {session.get_providers()[0]}")
        return session


class Whisper:
    """Encoder, decoder, and decoder with a past, as Optimum exports them."""

    def __init__(self, session: Callable[[Path], ort.InferenceSession], folder: Path, device: str) -> None:
        names = "encoder_model", "decoder_model", "decoder_with_past_model"
        self._encoder, self._decoder, self._with_past = (session(folder / f"{name}.onnx") for name in names)
        self._device = device
        self._generation = json.loads((folder / "generation_config.json").read_text())

    def encode(self, features: np.ndarray, device: str) -> ort.OrtValue:
        binding = self._encoder.io_binding()
        binding.bind_cpu_input("input_features", features)
        binding.bind_output(self._encoder.get_outputs()[0].name, device)
        self._encoder.run_with_iobinding(binding)
        return binding.get_outputs()[0]

    def transcribe(self, recording: Path, first: First) -> list[int]:
        g, tokens = self._generation, []
        rows = self.encode(log_mel(recording), self._device)
        prompt = [g["decoder_start_token_id"], g["no_timestamps_token_id"]]
        logits, cache = self._run(self._decoder, prompt, {"encoder_hidden_states": rows})
        logits[g["begin_suppress_tokens"]] = -np.inf
        while (token := self._best(logits)) != g["eos_token_id"]:
            if not tokens:
                first()
            tokens.append(token)
            logits, new = self._run(self._with_past, [token], cache)
            cache |= new  # keys and values of the recording stay
        return tokens

    def _best(self, logits: np.ndarray) -> int:
        logits[self._generation["suppress_tokens"]] = -np.inf
        return int(logits.argmax())

    def _run(
        self, session: ort.InferenceSession, ids: list[int], cache: dict[str, ort.OrtValue]
    ) -> tuple[np.ndarray, dict[str, ort.OrtValue]]:
        return run(session, {"input_ids": np.array([ids])}, cache, self._device)


class Language:
    """A decoder whose past grows with each run."""

    def __init__(self, session: ort.InferenceSession, device: str) -> None:
        self._session, self._device = session, device
        self._inputs = {i.name for i in session.get_inputs()}
        past = [i for i in session.get_inputs() if i.name.startswith("past")]
        empty = {i.name: np.zeros([1, i.shape[1], 0, i.shape[3]], _NUMPY[i.type]) for i in past}
        self._empty = {name: ort.OrtValue.ortvalue_from_numpy(array, "cpu") for name, array in empty.items()}

    def prefill(self, prompt: Sequence[int]) -> tuple[np.ndarray, dict[str, ort.OrtValue]]:
        return self._run(prompt, 0, self._empty)

    def generate(self, prompt: Sequence[int], count: int, first: First) -> list[int]:
        logits, cache = self.prefill(prompt)
        tokens = [int(logits.argmax())]
        first()
        while len(tokens) < count:
            logits, cache = self._run(tokens[-1:], len(prompt) + len(tokens) - 1, cache)
            tokens.append(int(logits.argmax()))
        return tokens

    def _run(
        self, new: Sequence[int], past: int, cache: dict[str, ort.OrtValue]
    ) -> tuple[np.ndarray, dict[str, ort.OrtValue]]:
        length = past + len(new)
        feeds = {
            "input_ids": np.array([new]),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(past, length)[None],
        }
        return run(self._session, {k: v for k, v in feeds.items() if k in self._inputs}, cache, self._device)


def run(
    session: ort.InferenceSession, feeds: dict[str, np.ndarray], cache: dict[str, ort.OrtValue], device: str
) -> tuple[np.ndarray, dict[str, ort.OrtValue]]:
    """The last token's logits on the host, and the cache on the device under the names that it is given back by."""
    binding = session.io_binding()
    for name, array in feeds.items():
        binding.bind_cpu_input(name, array)
    inputs = {i.name for i in session.get_inputs()}
    for name, value in cache.items():
        if name in inputs:
            binding.bind_ortvalue_input(name, value)
    names = [o.name for o in session.get_outputs()]
    for name in names:
        binding.bind_output(name, "cpu" if name == "logits" else device)
    session.run_with_iobinding(binding)
    outputs = dict(zip(names, binding.get_outputs(), strict=True))
    logits = outputs.pop("logits").numpy()[0, -1]
    return logits, {name.replace("present", "past_key_values"): value for name, value in outputs.items()}
