"""Golden values: what the oracle computes for the probes of a family, and what packed weights change of it.

numpy on our graph computes the change alone, because no oracle reads packed weights. It computes all values only if no
oracle runs the model.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from intaglio.compiler.models.family import Family
from intaglio.compiler.models.model import Decoder, GoldenRun, Probe
from intaglio.compiler.models.oracle import Oracle
from intaglio.compiler.models.reference import Reference

OURS = "intaglio"  # in place of an oracle's name

Outputs = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Golden:
    """Probes, their outputs by name, and what computed those."""

    probes: Sequence[Probe] = ()
    outputs: Sequence[Outputs] = ()
    by: Sequence[str] = ()

    @property
    def runs(self) -> list[GoldenRun]:
        return [GoldenRun.of(*of) for of in zip(self.probes, self.outputs, self.by, strict=True)]

    @property
    def notes(self) -> list[str]:
        """Lines about outputs without a finite number, which the golden runs leave out."""
        outputs = {
            (name, probe.program): f"{name} of {probe.program} has no finite number, by {by} on the model's own file"
            for probe, outputs, by in zip(self.probes, self.outputs, self.by, strict=True)
            for name, array in outputs.items()
            if array.size and not np.isfinite(array).any()
        }
        return list(outputs.values())

    def changed(self, before: Sequence[Outputs], after: Sequence[Outputs]) -> Golden:
        """Return the golden values of a model that gives `after` where it gave `before`."""
        outputs = [
            {name: changed(array, old[name], new[name]) for name, array in of.items()}
            for of, old, new in zip(self.outputs, before, after, strict=True)
        ]
        return replace(self, outputs=outputs)


def golden(model: Family, decoder: Decoder | None, reference: Callable[[], Reference]) -> Golden:
    """Return the golden values of a model that was read. There are none if its probes have no results."""
    probes = model.probes()
    try:
        return _by_oracle(probes, reference())
    except ValueError:  # the oracle's, or BadModel
        outputs = model.evaluated(probes, decoder)
        return Golden(probes[: len(outputs)], outputs, [OURS] * len(outputs))


def _by_oracle(probes: Sequence[Probe], reference: Reference) -> Golden:
    oracle = Oracle(reference.parts)
    outputs, by = [], []
    for probe in probes:
        observed = reference.observe(probe.program, probe.symbols, probe.inputs, oracle.run)
        results = reference.outputs(probe.program, observed)
        outputs.append({name: results[name] for name in probe.tolerances})
        by.append(oracle.by)
    return Golden(probes, outputs, by)


def changed(array: np.ndarray, before: np.ndarray, after: np.ndarray) -> np.ndarray:
    """Return what `array` becomes where a computation of ours gives `after` instead of `before`."""
    before, after = before.reshape(array.shape), after.reshape(array.shape)
    if array.dtype.kind in "iub":
        return np.where(array == before, after, array)
    return array.astype(np.float32) + (after.astype(np.float32) - before.astype(np.float32))
