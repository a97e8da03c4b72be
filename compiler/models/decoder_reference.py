"""The reference of a decoder: its ONNX file runs on all tokens so far. A bundle's programs read only the new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path

import numpy as np
from onnx import ModelProto

from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models import embedding as embeddings
from intaglio.compiler.models.embedding import EMBED
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import LOGITS, NEW_TOKENS, PAST, TOKENS

DECODE = "decode"  # the name of the part


class DecoderReference:
    """The reference of the decoder in `file`.

    sizes: of named cache dimensions. vocabulary: the width of the logits, if it is known. encoder: whether it has an
    encoder. embedding: the file of a separate embedding. Raises BadModel.
    """

    def __init__(
        self,
        file: Path,
        sizes: Mapping[str, int],
        vocabulary: int | None = None,
        encoder: bool = False,
        embedding: Path | None = None,
    ) -> None:
        self._embedding = None if embedding is None else _embedding(embedding)
        self._sizes, self._vocabulary = sizes, vocabulary
        part = Part(
            partial(external_data.opened, file),
            file,
            lambda header: decoder_inputs.inputs(header, encoder, embedded=self._wired(header)).fixed,
        )
        self._header, self._wires = part.header, self._wired(part.header)
        self.parts = {DECODE: part} | ({EMBED: self._embedding} if self._embedding is not None else {})

    def _wired(self, header: ModelProto) -> dict[str, str]:
        """Return the outputs of the embedding by the decoder's inputs that they are."""
        if self._embedding is None:
            return {}
        ranks = {o.name: len(o.type.tensor_type.shape.dim) for o in self._embedding.header.graph.output}
        return embeddings.wires(header, ranks)

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        count = symbols[PAST] + symbols.get(NEW_TOKENS, 1)
        return self.decode(inputs[TOKENS][..., :count, 0], run)

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        return {LOGITS: self._logits(observed[DECODE].values)[:, -1]}

    def _logits(self, values: Arrays) -> np.ndarray:
        """Return the logits [1, tokens, vocabulary] among the model's own outputs. Raises ValueError."""
        own = {o.name: values[o.name] for o in self._header.graph.output}
        rows = {name: array for name, array in own.items() if array.ndim == 3}
        named = [array for name, array in rows.items() if name.lower().endswith(LOGITS)]
        wide = [array for array in rows.values() if array.shape[-1] == self._vocabulary]
        for choice in (named, wide, list(rows.values())):
            if len(choice) == 1:
                return choice[0]
        raise ValueError(f"expected one output with logits, got {', '.join(own)}")

    def decode(
        self, ids: np.ndarray, run: Run, rows: np.ndarray | None = None, encoded: Arrays | None = None
    ) -> dict[str, Observed]:
        """Run the decoder on the tokens `ids` [1, n], an encoder's rows and its other outputs by name."""
        sizes, observed, embedded = {NEW_TOKENS: ids.shape[1]}, {}, {}
        if self._embedding is not None:
            observed[EMBED] = Observed(run(EMBED, embeddings.feeds(self._embedding.header, ids)), sizes)
            embedded = {name: observed[EMBED].values[output] for name, output in self._wires.items()}
        feeds = decoder_inputs.feeds(self._header, ids, rows, encoded, self._sizes, embedded)
        return observed | {DECODE: Observed(run(DECODE, feeds), sizes)}


def _embedding(file: Path) -> Part:
    return Part(partial(external_data.opened, file), file, lambda header: embeddings.inputs(header)[1])
