"""The reference of a decoder: its ONNX file runs on all tokens so far. A bundle's programs read only the new tokens."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np

from intaglio.compiler.models import decoder_inputs
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run, in_f32, inlined
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import NEW_TOKENS, PAST, TOKENS

DECODE = "decode"  # the name of the part


class DecoderReference:
    """The reference of the decoder in `file`. encoder: whether it has an encoder. Raises BadModel."""

    def __init__(self, file: Path, sizes: Mapping[str, int], encoder: bool = False) -> None:
        model, folder = external_data.opened(file)
        self._model, self._sizes = in_f32(model), sizes
        fixed = decoder_inputs.inputs(self._model, encoder).fixed
        self.parts = {DECODE: Part(inlined(self._model, fixed), folder)}

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        count = symbols[PAST] + symbols.get(NEW_TOKENS, 1)
        return self.decode(inputs[TOKENS][..., :count, 0], run)

    def decode(
        self, ids: np.ndarray, run: Run, rows: np.ndarray | None = None, encoded: Arrays | None = None
    ) -> dict[str, Observed]:
        """Run the decoder on the tokens `ids` [1, n], an encoder's rows and its other outputs by name."""
        feeds = decoder_inputs.feeds(self._model, ids, rows, encoded, self._sizes)
        return {DECODE: Observed(run(DECODE, feeds), {NEW_TOKENS: ids.shape[1]})}
