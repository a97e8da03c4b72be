"""The reference of a text encoder: its ONNX file, with a mask of ones, which the program leaves out."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial

import numpy as np

from intaglio.compiler.models.encoder.folder import Folder
from intaglio.compiler.models.reference import Arrays, Observed, Part, Run
from intaglio.compiler.reader import external_data
from intaglio.runtime.contract import IDS, MAIN, TYPES


class EncoderReference:
    """The reference of the encoder in a folder. Raises BadModel."""

    def __init__(self, folder: Folder) -> None:
        self._folder, part = folder, Part(partial(external_data.opened, folder.encoder), folder.encoder)
        self._header, self.parts = part.header, {MAIN: part}

    def observe(self, program: str, symbols: Mapping[str, int], inputs: Arrays, run: Run) -> dict[str, Observed]:
        ids = inputs[IDS]
        types = inputs.get(TYPES, np.zeros_like(ids))
        feeds = self._folder.ports.feeds(self._header, ids, types, self._folder.first)
        return {MAIN: Observed(run(MAIN, feeds), symbols)}

    def outputs(self, program: str, observed: Mapping[str, Observed]) -> dict[str, np.ndarray]:
        return {name: observed[MAIN].values[name] for name in self._folder.ports.outputs}
