"""Language models by onnxruntime: the oracle for whole models. Nothing here comes from the project's own code.

It runs whatever an exporter left, with the cache as that has it: inputs that are no integers, in the outputs' order.
"""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import onnxruntime


class LanguageReference:
    """An exporter's folder, run by onnxruntime on the CPU, one sequence at a time."""

    def __init__(self, folder: Path) -> None:
        self._session = onnxruntime.InferenceSession(folder / "model.onnx", providers=["CPUExecutionProvider"])
        inputs = {i.name: i for i in self._session.get_inputs()}
        self._given = [name for name in inputs if name in ("input_ids", "attention_mask", "position_ids")]
        names = [name for name in inputs if name not in self._given]
        # The batch is one sequence, and nothing is in the cache yet, which GenAI may have as a buffer with room.
        sizes = self._sizes(folder / "genai_config.json")
        shapes = [
            [1, *(n if isinstance(n, int) else sizes.get(n, 0) for n in inputs[name].shape[1:])] for name in names
        ]
        self._empty = {name: np.zeros(shape, np.float32) for name, shape in zip(names, shapes, strict=True)}

    @staticmethod
    def _sizes(settings: Path) -> dict[str, int]:
        if not settings.exists():
            return {}
        decoder = json.loads(settings.read_text())["model"]["decoder"]
        window = decoder.get("sliding_window", {}).get("window_size", 0)
        return {"kv_cache_dim": decoder["head_size"], "past_sliding_length": window}

    def logits(self, ids: list[int]) -> np.ndarray:
        """f32[tokens, vocabulary], all tokens at once."""
        return self._run(ids, 0, self._empty)[0]

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """The `count` tokens that follow, whichever they are: an end token ends nothing."""
        cache, new, past, chosen = self._empty, list(ids), 0, []
        while len(chosen) < count:
            logits, cache = self._run(new, past, cache)
            past += len(new)
            new = [int(logits[-1].argmax())]
            chosen += new
        return chosen

    def _run(self, new: list[int], past: int, cache: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of the new tokens, and the cache with them."""
        length = past + len(new)
        feeds = {
            "input_ids": np.array([new], np.int64),
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.arange(past, length)[None],
        }
        logits, *cached = self._session.run(None, {name: feeds[name] for name in self._given} | cache)
        return logits[0], dict(zip(cache, cached, strict=True))
