"""The inputs and outputs of a text encoder's file by role, from their names and ranks."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

import numpy as np
from onnx import ModelProto

from intaglio.compiler.ir.values import DTYPES
from intaglio.compiler.reader import load

ROW, ROWS, SCORES = "row", "rows", "scores"  # what an output has: a row for each text, one for each token, or scores

# Names of outputs by what they have, the preferred ones first.
_NAMES = {
    ROW: ("sentence_embedding", "text_embeds", "text_embedding"),
    ROWS: ("last_hidden_state", "token_embeddings", "hidden_states"),
    SCORES: ("logits",),
}
_RANKS = {ROW: 2, ROWS: 3, SCORES: 2}
_KEPT = (*(name for names in _NAMES.values() for name in names), "pooler_output")


@dataclass(frozen=True)
class Ports:
    """The names of the inputs by role, all [texts, tokens], and the outputs.

    output: the one that becomes the row or the labels of a text. result: what it has: ROW [texts, width], SCORES
    [texts, labels] or ROWS [texts, tokens, width]. outputs: those that the bundle has.
    """

    ids: str
    masks: tuple[str, ...]
    positions: tuple[str, ...]
    types: tuple[str, ...]
    result: str
    output: str
    outputs: tuple[str, ...]

    @classmethod
    def read(cls, model: ModelProto, encodes: bool) -> Self | None:
        """Return the ports of a model, or None if it is not a text encoder.

        encodes: whether the configuration says that it is one. The name of the output then matters less.
        """
        roles: dict[str, list[str]] = {"ids": [], "masks": [], "positions": [], "types": []}
        for name, (_, rank) in load.input_types(model).items():
            if rank != 2:
                return None
            roles[_role(name)].append(name)
        result = _result(model, encodes)
        if len(roles["ids"]) != 1 or result is None:
            return None
        masks, positions, types = (tuple(roles[role]) for role in ("masks", "positions", "types"))
        outputs = tuple(o.name for o in model.graph.output if o.name in (*_KEPT, result[1]))
        return cls(roles["ids"][0], masks, positions, types, *result, outputs)

    def feeds(self, model: ModelProto, ids: np.ndarray, types: np.ndarray, first: int) -> dict[str, np.ndarray]:
        """Return the inputs of the file by name, for one text. ids, types: [1, tokens]. first: the first position."""
        arrays = {
            self.ids: ids,
            **dict.fromkeys(self.masks, np.ones_like(ids)),
            **dict.fromkeys(self.positions, np.arange(first, first + ids.size)[None]),
            **dict.fromkeys(self.types, types),
        }
        dtypes = load.input_types(model)
        return {name: array.astype(DTYPES[dtypes[name][0]]) for name, array in arrays.items()}


def _role(name: str) -> str:
    words: Mapping[str, tuple[str, ...]] = {
        "masks": ("mask",),
        "types": ("type", "segment"),
        "positions": ("position",),
    }
    return next((role for role, parts in words.items() if any(part in name for part in parts)), "ids")


def _result(model: ModelProto, encodes: bool) -> tuple[str, str] | None:
    """Return what the output to use has, and its name, or None."""
    ranks = {o.name: len(o.type.tensor_type.shape.dim) for o in model.graph.output}
    for result, names in _NAMES.items():
        for name in names:
            if ranks.get(name) == _RANKS[result]:
                return result, name
    rows = [name for name, rank in ranks.items() if rank == _RANKS[ROWS] and name not in _NAMES[SCORES]]
    return (ROWS, rows[0]) if encodes and rows else None
