"""The reference of a decoder: its ONNX file runs on all tokens so far. A bundle's programs read only the new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models import embedding as embeddings
from intaglio.compiler.models.embedding import EMBED
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run, in_f32, inlined
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import NEW_TOKENS, PAST, TOKENS

DECODE = "decode"  # the name of the part


class DecoderReference:
    """The reference of the decoder in `file`.

    encoder: whether it has an encoder. embedding: the file of a separate embedding. Raises BadModel.
    """

    def __init__(
        self, file: Path, sizes: Mapping[str, int], encoder: bool = False, embedding: Path | None = None
    ) -> None:
        model, folder = external_data.opened(file)
        self._model, self._sizes = in_f32(model), sizes
        self._embedding, self._wires = (None, {}) if embedding is None else self._opened(embedding)
        fixed = decoder_inputs.inputs(self._model, encoder, embedded=self._wires).fixed
        self.parts = {DECODE: Part(inlined(self._model, fixed), folder)}
        if self._embedding is not None:
            self.parts[EMBED] = self._embedding

    def _opened(self, embedding: Path) -> tuple[Part, dict[str, str]]:
        model, folder = external_data.opened(embedding)
        ranks = {o.name: len(o.type.tensor_type.shape.dim) for o in model.graph.output}
        model = in_f32(model)
        return Part(inlined(model, embeddings.inputs(model)[1]), folder), embeddings.wires(self._model, ranks)

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        count = symbols[PAST] + symbols.get(NEW_TOKENS, 1)
        return self.decode(inputs[TOKENS][..., :count, 0], run)

    def decode(
        self, ids: np.ndarray, run: Run, rows: np.ndarray | None = None, encoded: Arrays | None = None
    ) -> dict[str, Observed]:
        """Run the decoder on the tokens `ids` [1, n], an encoder's rows and its other outputs by name."""
        sizes, observed, embedded = {NEW_TOKENS: ids.shape[1]}, {}, {}
        if self._embedding is not None:
            observed[EMBED] = Observed(run(EMBED, embeddings.feeds(self._embedding.model, ids)), sizes)
            embedded = {name: observed[EMBED].values[output] for name, output in self._wires.items()}
        feeds = decoder_inputs.feeds(self._model, ids, rows, encoded, self._sizes, embedded)
        return observed | {DECODE: Observed(run(DECODE, feeds), sizes)}
