"""The bundles that are served, by name, and which of them a request means."""

from __future__ import annotations

import hashlib
import time
from collections.abc import Iterable
from functools import cached_property
from typing import Any

from intaglio.bundle import Bundle
from intaglio.runtime.contract import ENCODER
from intaglio.serve.errors import ApiError
from intaglio.serve.scheduler import Pool, Turns

_KINDS = {"whisper": "transcribes", "language": "generates text", ENCODER: "embeds texts"}


class Model:
    """A bundle under its name."""

    def __init__(self, name: str, bundle: Bundle, turns: Turns, sessions: int, queue: int) -> None:
        self.name, self.bundle, self.kind = name, bundle, bundle.plan.kind
        self.pool = Pool(bundle, turns, sessions, queue)
        self.created, self.ready = int(time.time()), False

    def open(self) -> None:
        """Open the adapter, so that the first request does not wait. Raises BadBundle, NoAdapter, DeviceLimit."""
        _ = self.bundle.replays
        self.ready = True

    @cached_property
    def fingerprint(self) -> str:
        """A word that changes with the bundle."""
        return f"fp_{hashlib.sha256((self.bundle.folder / 'plan.json').read_bytes()).hexdigest()[:12]}"

    @property
    def entry(self) -> dict[str, Any]:
        return {"id": self.name, "object": "model", "created": self.created, "owned_by": "intaglio"}


class Models:
    """All models. strict: a request must name one, even where only one can be meant."""

    def __init__(self, models: Iterable[Model], strict: bool) -> None:
        self.all = {model.name: model for model in models}
        self._strict = strict

    @property
    def ready(self) -> bool:
        return all(model.ready for model in self.all.values())

    def close(self) -> None:
        """Let no other request begin."""
        for model in self.all.values():
            model.pool.close()

    def named(self, name: str) -> Model:
        """Raises ApiError."""
        if name not in self.all:
            raise _unknown(name, self.all)
        return self.all[name]

    def of(self, kind: str, name: str | None) -> Model:
        """The model of a kind that a request means. Raises ApiError."""
        fitting = {n: model for n, model in self.all.items() if model.kind == kind}
        if not fitting:
            listed = ", ".join(f"{n} {_KINDS.get(m.kind, 'runs tensors')}" for n, m in self.all.items())
            raise ApiError(404, f"no model here {_KINDS[kind]}; {listed}", "model", "model_not_found")
        if name in fitting:
            model = fitting[name]
        elif len(fitting) == 1 and not self._strict:
            model = next(iter(fitting.values()))
        else:
            raise _unknown(name, fitting)
        if not model.ready:
            raise ApiError(503, f"the model {model.name} is loading", code="loading", retry_after="1")
        return model


def _unknown(name: str | None, models: Iterable[str]) -> ApiError:
    what = "name a model" if name is None else f"the model {name[:60]!r} does not exist"
    return ApiError(404, f"{what}; expected {' or '.join(models)}", "model", "model_not_found")
