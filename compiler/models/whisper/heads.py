"""The alignment heads of a Whisper: the heads of cross-attention that follow the speech, as pairs (layer, head).

OpenAI published those of its models, in whisper/__init__.py. The structure of a model tells which one it is, or which
one it was trained from. large-v1 has the structure of large-v2, and only the latter's heads are here.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

Heads = list[tuple[int, int]]


class Structure(NamedTuple):
    """layers, heads: of the decoder, and of each layer. mels: the bands of the spectrogram."""

    layers: int
    heads: int
    multilingual: bool
    mels: int


_TINY_EN = {1: (0,), 2: (0, 5), 3: (0, 1, 2, 3, 4)}
_TINY = {2: (2,), 3: (0, 2, 3, 4, 5)}
_BASE_EN = {3: (3,), 4: (7,), 5: (1, 5, 7)}
_BASE = {3: (1,), 4: (2, 3, 7), 5: (1, 2, 4, 6)}
_SMALL_EN = {6: (6,), 7: (0, 3, 8), 8: (2, 5, 7), 9: (0, 4, 8, 10), 10: (0, 1, 2, 3, 6, 11), 11: (2, 4)}
_SMALL = {5: (3, 9), 8: (0, 4, 7, 8), 9: (0, 7, 9), 10: (5,)}
_MEDIUM_EN = {
    11: (4,), 14: (1, 12, 14), 15: (4,), 16: (0, 4, 9), 17: (12, 14), 18: (7, 10, 15), 20: (0, 3, 9, 14), 21: (12,)
}  # fmt: skip
_MEDIUM = {13: (15,), 15: (4, 15), 16: (1,), 20: (0,), 23: (4,)}
_LARGE_V2 = {
    10: (12,), 13: (17,), 16: (11, 12, 13), 17: (15, 16), 18: (4, 11, 19), 19: (11,), 21: (2, 3), 22: (3, 9, 12),
    23: (5, 7, 13), 25: (5,), 26: (1, 12), 27: (15,)
}  # fmt: skip
_LARGE_V3 = {7: (0,), 10: (17,), 12: (18,), 13: (12,), 16: (1,), 17: (14,), 19: (11,), 21: (4,), 24: (1,), 25: (6,)}
_TURBO = {2: (4, 11), 3: (3, 6, 11, 14)}

PUBLISHED = {
    Structure(4, 6, False, 80): _TINY_EN,
    Structure(4, 6, True, 80): _TINY,
    Structure(6, 8, False, 80): _BASE_EN,
    Structure(6, 8, True, 80): _BASE,
    Structure(12, 12, False, 80): _SMALL_EN,
    Structure(12, 12, True, 80): _SMALL,
    Structure(24, 16, False, 80): _MEDIUM_EN,
    Structure(24, 16, True, 80): _MEDIUM,
    Structure(32, 20, True, 80): _LARGE_V2,
    Structure(32, 20, True, 128): _LARGE_V3,
    Structure(4, 20, True, 128): _TURBO,
}


def alignment_heads(configured: Sequence[Sequence[int]] | None, of: Structure) -> Heads:
    """Return the heads that the export's configuration names, or else those published for models of this structure.

    Other models have all heads of the second half of their layers, as OpenAI's whisper/model.py does. Raises ValueError
    for a head that the model lacks.
    """
    if configured:
        heads = sorted((int(layer), int(head)) for layer, head in configured)
        for layer, head in heads:
            if not (0 <= layer < of.layers and 0 <= head < of.heads):
                raise ValueError(
                    f"alignment_heads has [{layer}, {head}]; expected {of.layers} layers of {of.heads} heads"
                )
        return heads
    if of in PUBLISHED:
        return [(layer, head) for layer, heads in PUBLISHED[of].items() for head in heads]
    return [(layer, head) for layer in range(of.layers // 2, of.layers) for head in range(of.heads)]
