"""The reference of a decoder: its ONNX file runs on all tokens so far. A bundle's programs read only the new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run, in_f32, inlined
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import LOGITS, NEW_TOKENS, PAST, TOKENS

DECODE = "decode"  # the name of the part


class DecoderReference:
    """The reference of the decoder in `file`.

    sizes: of named cache dimensions. vocabulary: the width of the logits, if it is known. encoder: whether it has an
    encoder. Raises BadModel.
    """

    def __init__(
        self, file: Path, sizes: Mapping[str, int], vocabulary: int | None = None, encoder: bool = False
    ) -> None:
        model, folder = external_data.opened(file)
        self._model, self._sizes, self._vocabulary = in_f32(model), sizes, vocabulary
        fixed = decoder_inputs.inputs(self._model, encoder).fixed
        self.parts = {DECODE: Part(inlined(self._model, fixed), folder)}

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        count = symbols[PAST] + symbols.get(NEW_TOKENS, 1)
        return self.decode(inputs[TOKENS][..., :count, 0], run)

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        return {LOGITS: self._logits(observed[DECODE].values)[:, -1]}

    def _logits(self, values: Arrays) -> np.ndarray:
        """Return the logits [1, tokens, vocabulary] among the model's own outputs. Raises ValueError."""
        own = {o.name: values[o.name] for o in self._model.graph.output}
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
        feeds = decoder_inputs.feeds(self._model, ids, rows, encoded, self._sizes)
        return {DECODE: Observed(run(DECODE, feeds), {NEW_TOKENS: ids.shape[1]})}
