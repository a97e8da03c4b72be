"""golden.safetensors: golden runs with the values that programs, and their steps, must compute."""

from __future__ import annotations

import json
from collections.abc import Iterable

import numpy as np
from safetensors.numpy import save

from intaglio.codegen.bundle.checkpoints import Checkpoint
from intaglio.codegen.kernel import stored
from intaglio.compiler.models.model import Check


def save_golden(checks: list[Check], steps: Iterable[list[Checkpoint]], fixed: set[str]) -> bytes:
    """golden.safetensors: for check i inputs "i.in.NAME", flat indices "i.at.NAME" and the values there "i.is.NAME".

    Of inputs in `fixed`, whose sizes the plan tells, what repeats at the end of the last axis is left out.
    What the steps write follows in one piece, "i.steps.at" and "i.steps.is", in which [step, binding, count] are told.
    """
    tensors: dict[str, np.ndarray] = {}
    listed = []
    for i, (check, found) in enumerate(zip(checks, steps, strict=True)):
        tensors |= {f"{i}.steps.at": _joined([at for *_, at, _ in found]).astype(np.uint32)}
        tensors |= {f"{i}.steps.is": _joined([values for *_, values in found]).astype(np.float64)}
        inputs = {name: _plain(array) for name, array in check.inputs.items()}
        tensors |= {f"{i}.in.{n}": _trimmed(a) if n in fixed else a for n, a in inputs.items()}
        for name, (indices, values) in check.expected.items():
            tensors |= {f"{i}.at.{name}": indices, f"{i}.is.{name}": _plain(values)}
        listed.append(
            {
                "program": check.program,
                "symbols": check.symbols,
                "inputs": list(check.inputs),
                "expected": list(check.expected),
                "steps": [[step, binding, len(at)] for step, binding, at, _ in found],
            }
        )
    return save(tensors, metadata={"checks": json.dumps(listed)})


def _plain(array: np.ndarray) -> np.ndarray:
    """An array of a type that numpy has."""
    return np.asarray(array if array.dtype.kind != "V" else stored(array), order="C")


def _trimmed(array: np.ndarray) -> np.ndarray:
    """An array whose last axis ends where nothing but repetitions follow."""
    if not array.size or not array.ndim:
        return array
    changes = np.flatnonzero((array != array[..., -1:]).reshape(-1, array.shape[-1]).any(0))
    return np.ascontiguousarray(array[..., : changes.max(initial=-1) + 2])


def _joined(arrays: list[np.ndarray]) -> np.ndarray:
    return np.concatenate([np.zeros(0), *arrays])
