"""Language models by onnxruntime: the oracle for whole models. Nothing here comes from the project's own code.

It runs whatever an exporter left, with the cache as that has it: inputs that are no integers, in the outputs' order.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from exact import session

_GIVEN = ("input_ids", "inputs_embeds", "per_layer_inputs", "attention_mask", "position_ids")
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16}


class LanguageReference:
    """An exporter's folder, run by onnxruntime on the CPU, one sequence at a time.

    model: the decoder's file. embedding: the file that computes its rows from tokens, if that is another one.
    """

    def __init__(
        self, folder: Path, exact: bool = False, model: str = "model.onnx", embedding: str | None = None
    ) -> None:
        self._session = session(folder / model, exact)
        self._embedding = session(folder / embedding, exact) if embedding else None
        inputs = {i.name: i for i in self._session.get_inputs()}
        self._given = [name for name in inputs if name in _GIVEN]
        self._axes = len(inputs["position_ids"].shape) == 3 if "position_ids" in inputs else False
        names = [name for name in inputs if name not in self._given]
        # The batch is one sequence, and nothing is in the cache yet, which GenAI may have as a buffer with room.
        sizes = self._sizes(folder / "genai_config.json")
        shapes = [
            [1, *(n if isinstance(n, int) else sizes.get(n, 0) for n in inputs[name].shape[1:])] for name in names
        ]
        dtypes = [_DTYPES[inputs[name].type] for name in names]
        self._empty = {name: np.zeros(shape, t) for name, shape, t in zip(names, shapes, dtypes, strict=True)}

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

    def logits_by_token(self, ids: list[int]) -> np.ndarray:
        """The same, one token at a time."""
        cache, rows = self._empty, []
        for past, token in enumerate(ids):
            logits, cache = self._run([token], past, cache)
            rows.append(logits[0])
        return np.stack(rows)

    def greedy(self, ids: list[int], count: int) -> list[int]:
        """The `count` tokens that follow, whichever they are: an end token ends nothing."""
        cache, new, past, chosen = self._empty, list(ids), 0, []
        while len(chosen) < count:
            logits, cache = self._run(new, past, cache)
            past += len(new)
            new = [int(logits[-1].argmax())]
            chosen += new
        return chosen

    def choices(self, ids: list[int], tokens: list[int], chunk: int) -> list[int]:
        """The best token after `ids`, which are read in chunks, and after each of `tokens` but the last."""
        parts = [ids[i : i + chunk] for i in range(0, len(ids), chunk)] + [[token] for token in tokens[:-1]]
        cache, past, best = self._empty, 0, []
        for part in parts:
            logits, cache = self._run(part, past, cache)
            past += len(part)
            best.append(int(logits[-1].argmax()))
        return best[-len(tokens) :]

    def _run(self, new: list[int], past: int, cache: dict[str, np.ndarray]) -> tuple[np.ndarray, dict[str, np.ndarray]]:
        """Logits of the new tokens, and the cache with them."""
        length = past + len(new)
        ids, positions = np.array([new], np.int64), np.arange(past, length)[None]
        feeds: dict[str, Any] = {
            "input_ids": ids,
            "attention_mask": np.ones((1, length), np.int64),
            "position_ids": np.repeat(positions[None], 3, axis=0) if self._axes else positions,
        }
        if self._embedding is not None:
            names = [o.name for o in self._embedding.get_outputs()]
            feeds |= dict(zip(names, self._embedding.run(None, {"input_ids": ids}), strict=True))
        outputs: Sequence[Any] = self._session.run(None, {name: feeds[name] for name in self._given} | cache)
        logits, *cached = outputs
        return logits[0], dict(zip(cache, cached, strict=True))
