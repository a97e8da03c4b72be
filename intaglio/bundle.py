"""A bundle, opened: plan and report are read from files, and an adapter is only asked for by what runs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from intaglio.contents import Contents
from intaglio.lazy import lazy
from intaglio.runtime.instruments.provenance import Graph
from intaglio.runtime.plan import Plan
from intaglio.runtime.progress import Progress, silent
from intaglio.session import BundleSession

if TYPE_CHECKING:
    import onnx
    import wgpu

    from intaglio.runtime.engine import Engine
    from intaglio.runtime.instruments.golden import Check
    from intaglio.runtime.instruments.verify import Result, StepResult
    from intaglio.runtime.session import Session
    from intaglio.runtime.tasks.tokenizer import Tokenizer


class Bundle(BundleSession):
    """The bundle in `folder`. It has the calls of a session of its own, and makes further sessions. Raises BadBundle.

    progress: called with the work, how much of it is done, and how much there is (0: unknown).
    allow_edited: accept shaders that were edited after compiling; `engine.edited` lists them.
    adapter: which one to run on: an index of the list of `intaglio device`, or a part of a name. None: what the
    variable INTAGLIO_ADAPTER says, or else the best one.
    """

    def __init__(
        self,
        folder: Path,
        progress: Progress = silent,
        *,
        allow_edited: bool = False,
        adapter: str | int | None = None,
    ) -> None:
        super().__init__(Contents(folder), self._new, progress)
        self._allow_edited, self._adapter = allow_edited, adapter

    def session(self) -> BundleSession:
        """A new session: the same calls with a cache of its own, on the same weights.

        It allocates `plan.session_bytes` bytes when it first runs, which raises DeviceLimit if they do not fit.
        """
        return BundleSession(self.contents, self._new, self._progress)

    @property
    def folder(self) -> Path:
        """Where the bundle is."""
        return self.contents.folder

    @property
    def plan(self) -> Plan:
        """The content of plan.json: programs, steps, kernels, buffers, symbols and files."""
        return self.contents.plan

    @property
    def whole_plan(self) -> Plan:
        """The plan with the variants of its steps, profiles and tunings. Raises BadBundle."""
        return self.contents.whole_plan

    @property
    def graph(self) -> Graph:
        """What each step computes, and for which ONNX nodes. Raises BadBundle, also if the bundle lacks graph.json."""
        return self.contents.graph

    @property
    def report(self) -> dict[str, Any]:
        """The compiler's report: passes, kernels, bytes, dispatches per token. Raises BadBundle."""
        return self.contents.report

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Converts text to token ids and back; None if the model has none. Raises BadBundle."""
        return self.contents.tokenizer

    def verify(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
        dtype: str | None = None,
    ) -> list[Result]:
        """Compare the outputs of every program, on this adapter, with the golden values in the bundle.

        tolerance: the largest allowed absolute error, instead of the bundle's own.
        reference: the model that was compiled; onnxruntime then runs it again, and gives the values of every step too.
        bind, dtype: with `reference`, the same as when the model was compiled.
        Raises BadBundle, BadModel, NoCompiler, NoAdapter, DeviceLimit.
        """
        from intaglio.runtime.instruments.verify import outputs

        return list(outputs(self.engine.session(), self._checks(reference, bind, dtype), tolerance))

    def verify_steps(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
        dtype: str | None = None,
    ) -> Iterator[StepResult]:
        """Like `verify`, for every step of every program, in order. Start with the first whose verdict is "wrong"."""
        from intaglio.runtime.instruments.verify import steps

        return steps(self.engine.session(), self.graph, self._checks(reference, bind, dtype), tolerance)

    def _checks(self, reference: Any, bind: Mapping[str, Any] | None, dtype: str | None) -> Iterable[Check]:
        from intaglio.runtime.instruments import golden

        checks = golden.read(self.folder, self.plan)
        if reference is None:
            return checks
        from intaglio import reference as references

        return references.checks(checks, self.graph, self.plan, reference, bind, dtype)

    @lazy
    def engine(self) -> Engine:
        """The bundle on an adapter: pipelines and weights. Opened at first use, shared by all sessions."""
        return self.open()

    def open(self, device: wgpu.GPUDevice | None = None) -> Engine:
        """A new engine of this bundle, on `device` or on the bundle's adapter.

        Raises BadBundle, NoAdapter, UnknownAdapter, DeviceLimit.
        """
        from intaglio.runtime.engine import Engine

        return Engine(self.folder, self.whole_plan, self._progress, device, self._allow_edited, self._adapter)

    def _new(self) -> Session:
        return self.engine.session(self._progress)
