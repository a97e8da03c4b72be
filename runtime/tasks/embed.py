"""Texts to numbers, with an encoder: one row for each text, or the probabilities of the labels of one text.

Texts run one at a time and are never padded, so a result does not depend on the other texts of a call.
"""

from __future__ import annotations

import warnings
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Self

import numpy as np

from intaglio.runtime.checked import items, typed
from intaglio.runtime.contract import IDS, MAIN, POOLINGS, TYPES
from intaglio.runtime.errors import BadBundle
from intaglio.runtime.session import Session
from intaglio.runtime.tasks.decode import nan_scores
from intaglio.runtime.tasks.tokenizer import Encoded, Tokenizer

_SCORES = ("softmax", "sigmoid", "none", None)
_SHORTEST = 1e-12  # a shorter row is divided by this length, as torch's normalize does


@dataclass(frozen=True)
class Settings:
    """The content of generation.json.

    length: the tokens of the longest text. left: whether longer texts lose their beginning. masks: inputs of the model
    that the bundle lacks. output: the one that has the rows or scores. pooling: the ways in which rows of tokens become
    one row, joined; empty if the model does it. prompt: what stands before each text that becomes a row. scores: the
    function that makes probabilities of the scores of `labels`; None if the model is not a classifier. vocabulary: the
    number of tokens; None if it is not known.
    """

    length: int
    left: bool
    masks: tuple[str, ...]
    output: str
    pooling: tuple[str, ...]
    normalize: bool
    prompt: str
    labels: tuple[str, ...]
    scores: str | None
    vocabulary: int | None

    @classmethod
    def parse(cls, data: Mapping[str, Any]) -> Self:
        """Return the settings in a parsed generation.json. Raises BadBundle if they are not valid."""
        try:
            settings = cls(
                length=typed(data["length"], int),
                left=typed(data["side"], str) == "left",
                masks=items(data["masks"], str),
                output=typed(data["output"], str),
                pooling=items(data.get("pooling", []), str),
                normalize=typed(data.get("normalize", False), bool),
                prompt=typed(data.get("prompt", ""), str),
                labels=items(data.get("labels", []), str),
                scores=typed(data.get("scores"), str, type(None)),
                vocabulary=typed(data["vocabulary"], int, type(None)),
            )
        except (KeyError, TypeError) as error:
            raise BadBundle(f"generation.json is broken: {error}; compile the model again") from error
        if settings.length < 1 or settings.scores not in _SCORES or not {*settings.pooling} <= {*POOLINGS}:
            raise BadBundle("generation.json is broken: a value is out of its range; compile the model again")
        return settings


class Encoder:
    """An encoder in a session. Texts are strings, or token ids with the special tokens around them."""

    def __init__(self, session: Session, settings: Settings, tokenizer: Tokenizer | None) -> None:
        self._session, self._settings, self._tokenizer = session, settings, tokenizer
        program = session.plan.programs[MAIN]
        if settings.output not in program.outputs:
            raise BadBundle(f"generation.json is broken: there is no output {settings.output}; compile the model again")
        self._inputs, self._buffer = program.inputs, session.plan.buffers[program.outputs[settings.output]]

    def embed(self, texts: Sequence[str | Sequence[int]]) -> np.ndarray:
        """Return a row for each text, f32[texts, width].

        Warns about a text that is too long and loses its end. Raises ValueError if the model only gives scores, or for
        a text without tokens.
        """
        if self._settings.scores is not None:
            raise ValueError("the model is a classifier and gives no rows of texts; use classify")
        prompt = self._settings.prompt
        prompted = [prompt + text if isinstance(text, str) else text for text in texts]
        encoded = [self._encoded(text, f"text {i}") for i, text in enumerate(prompted, 1)]
        rows = [self._pooled(self._run(one)) for one in encoded]
        return np.stack(rows) if rows else np.zeros((0, self._width), np.float32)

    def classify(self, text: str | Sequence[int], pair: str | None = None) -> dict[str, float]:
        """Return the labels with their probabilities, the likeliest first.

        pair: the second text of a model that compares two. Warns about a text that is too long. Raises ValueError if
        the model is not a classifier, or for a text without tokens.
        """
        function = self._settings.scores
        if function is None:
            raise ValueError("the model is not a classifier; use embed")
        scores = self._run(self._encoded(text, "the text", pair))[0].astype(np.float64)
        probabilities = _probabilities(scores, function)
        labels = self._settings.labels or [f"LABEL_{i}" for i in range(scores.size)]
        order = np.argsort(-probabilities, kind="stable")
        return {labels[i]: float(probabilities[i]) for i in order}

    @property
    def _width(self) -> int:
        return int(self._buffer.shape[-1]) * max(1, len(self._settings.pooling))

    def _encoded(self, text: str | Sequence[int], name: str, pair: str | None = None) -> Encoded:
        most = self._settings.length
        if isinstance(text, str):
            if self._tokenizer is None:
                raise ValueError("the bundle has no tokenizer; pass token ids, as in embed([[101, 2023, 102]])")
            encoded = self._tokenizer.fit(text, pair, most, self._settings.left)
        else:
            ids = self._checked(text)
            encoded = Encoded(ids[:most], [0] * min(len(ids), most), len(ids))
        if not encoded.ids:
            raise ValueError(f"{name} has no tokens")
        if encoded.count > most:
            kept = "last" if self._settings.left else "first"
            warnings.warn(f"{name} has {encoded.count} tokens; the model reads the {kept} {most}", stacklevel=5)
        return encoded

    def _checked(self, text: Sequence[int]) -> list[int]:
        """Return token ids. Raises ValueError for ids that the model lacks."""
        ids = [int(i) for i in text]
        limit = self._settings.vocabulary
        if limit is not None and (wrong := [i for i in ids if not 0 <= i < limit]):
            raise ValueError(f"the token {wrong[0]} does not exist; the model has tokens 0 to {limit - 1}")
        return ids

    def _run(self, text: Encoded) -> np.ndarray:
        arrays = {IDS: np.array([text.ids], np.int64), TYPES: np.array([text.types], np.int64)}
        symbols = self._session.feed(MAIN, {name: arrays[name] for name in self._inputs})
        self._session.submit(MAIN, symbols)
        output = self._session.read(self._settings.output, symbols)
        if np.isnan(output).any():
            raise nan_scores("a text")
        return output

    def _pooled(self, output: np.ndarray) -> np.ndarray:
        """Return the row of a text, f32[width], from [1, tokens, width] or [1, width]."""
        row = pool(output[0], self._settings.pooling) if self._settings.pooling else output[0]
        if self._settings.normalize:
            row = row / max(float(np.linalg.norm(row)), _SHORTEST)
        return row.astype(np.float32)


def unmasked(inputs: Mapping[str, Any], settings: Settings) -> dict[str, Any]:
    """Return the inputs of a run without masks. Raises ValueError for a mask that hides tokens."""
    for name in settings.masks:
        if name in inputs and not np.asarray(inputs[name]).all():
            raise ValueError(
                f"{name} hides tokens, but this bundle reads texts without padding; leave those tokens out"
            )
    return {name: value for name, value in inputs.items() if name not in settings.masks}


def pool(rows: np.ndarray, modes: Sequence[str]) -> np.ndarray:
    """Return one row of the rows of tokens [tokens, width]: the results of all `modes`, joined.

    The modes are those of sentence-transformers.
    """
    count = len(rows)
    weights = np.arange(1, count + 1, dtype=np.float32)
    by_mode = {
        "cls": lambda: rows[0],
        "max": lambda: rows.max(0),
        "mean": lambda: rows.mean(0),
        "mean_sqrt_len_tokens": lambda: rows.sum(0) / np.sqrt(np.float32(count)),
        "weightedmean": lambda: (rows * weights[:, None]).sum(0) / weights.sum(),
        "lasttoken": lambda: rows[-1],
    }
    return np.concatenate([by_mode[mode]() for mode in modes])


def _probabilities(scores: np.ndarray, function: str) -> np.ndarray:
    if function == "softmax":
        powers = np.exp(scores - scores.max())
        return powers / powers.sum()
    return 1 / (1 + np.exp(-scores)) if function == "sigmoid" else scores
