"""The reference of a Whisper: the model of the spectrogram, and the exported encoder and decoder."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from intaglio.compiler.models.decoder_reference import DecoderReference
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run
from intaglio.compiler.models.whisper import mel
from intaglio.compiler.models.whisper.folder import FRAMES_PER_POSITION, Folder
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import ENCODE, FEATURES, HIDDEN, MEL, NEW_TOKENS, OPENING, PADDING, PAST, TOKENS


class WhisperReference:
    """The reference of a Whisper. It keeps the encoder's results between runs, as the states of the programs do."""

    def __init__(self, folder: Folder) -> None:
        encoder = Part(partial(external_data.opened, folder.encoder), folder.encoder)
        self._decoder = DecoderReference(folder.decoder, {}, folder.vocabulary, encoder=True)
        self._start = folder.settings["start"]
        self._features, self._rows = encoder.header.graph.input[0].name, encoder.header.graph.output[0].name
        self._encoded: Arrays = {self._rows: np.zeros(0, np.float32)}
        spectrogram = Part(lambda: (mel.model(folder.mels, FRAMES_PER_POSITION * folder.positions), None))
        self.parts = {MEL: spectrogram, ENCODE: encoder, **self._decoder.parts}

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        if program == MEL:
            numbers = {name: symbols.get(name, 0) for name in (OPENING, PADDING)}
            feeds = {name: np.array([number], np.int64) for name, number in numbers.items()}
            return {MEL: Observed(run(MEL, {**inputs, **feeds}), numbers)}
        if program == ENCODE:
            (features,) = inputs.values()
            self._encoded = run(ENCODE, {self._features: features})
            return {ENCODE: Observed(self._encoded, {}), **self._decode(np.array([[self._start]]), run)}
        count = symbols[PAST] + symbols.get(NEW_TOKENS, 1)
        return self._decode(inputs[TOKENS][..., :count, 0], run)

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        if program == MEL:
            return {FEATURES: observed[MEL].values[FEATURES]}
        if program == ENCODE:
            return {HIDDEN: observed[ENCODE].values[self._rows]}
        return self._decoder.outputs(program, observed)

    def _decode(self, ids: np.ndarray, run: Run) -> dict[str, Observed]:
        return self._decoder.decode(ids, run, self._encoded[self._rows], self._encoded)
