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
    """The bundle in `folder`, which is also a session of itself, and makes others. Raises BadBundle.

    progress: learns how far long work is. allow_edited: take shaders that are not what was compiled; `engine.edited`
    lists them.
    """

    def __init__(self, folder: Path, progress: Progress = silent, *, allow_edited: bool = False) -> None:
        super().__init__(Contents(folder), self._new, progress)
        self._allow_edited = allow_edited

    def session(self) -> BundleSession:
        """A session beside this one: the same calls, with a cache of its own. The weights are not loaded again.

        Its memory is allocated when it first runs: `plan.session_bytes`. Raises nothing; its calls raise DeviceLimit.
        """
        return BundleSession(self.contents, self._new, self._progress)

    @property
    def folder(self) -> Path:
        return self.contents.folder

    @property
    def plan(self) -> Plan:
        return self.contents.plan

    @property
    def whole_plan(self) -> Plan:
        """The plan with the variants of its steps, profiles and tunings. Raises BadBundle."""
        return self.contents.whole_plan

    @property
    def graph(self) -> Graph:
        """What every step computes, and of which ONNX nodes. Raises BadBundle, also for a bundle that does not say."""
        return self.contents.graph

    @property
    def report(self) -> dict[str, Any]:
        """What the compiler wrote down: passes, kernels, bytes, dispatches per token. Raises BadBundle."""
        return self.contents.report

    @property
    def tokenizer(self) -> Tokenizer | None:
        """Text to token ids and back; None where the model came without. Raises BadBundle."""
        return self.contents.tokenizer

    def verify(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
    ) -> list[Result]:
        """Run the bundle's golden checks on this adapter; `tolerance` replaces the programs' own.

        reference: the model that was compiled, with what was bound then; onnxruntime's values take the place of those
        in the bundle. Raises BadBundle, BadModel, NoReference.
        """
        from intaglio.runtime.instruments.verify import outputs

        return list(outputs(self.engine.session(), self._checks(reference, bind), tolerance))

    def verify_steps(
        self,
        tolerance: float | None = None,
        reference: str | Path | onnx.ModelProto | None = None,
        bind: Mapping[str, Any] | None = None,
    ) -> Iterator[StepResult]:
        """The same, step by step: every step of every program that can be compared, in order, as it is reached.

        The first whose verdict is "wrong" is the one to look at. Raises as `verify` does.
        """
        from intaglio.runtime.instruments.verify import steps

        return steps(self.engine.session(), self.graph, self._checks(reference, bind), tolerance)

    def _checks(self, reference: Any, bind: Mapping[str, Any] | None) -> Iterable[Check]:
        from intaglio.runtime.instruments import golden

        checks = golden.read(self.folder, self.plan)
        if reference is None:
            return checks
        from intaglio import ort as references

        return references.checks(checks, self.graph, self.plan, reference, bind)

    @lazy
    def engine(self) -> Engine:
        """The bundle on an adapter: opened at first use, shared by all sessions."""
        return self.open()

    def open(self, device: wgpu.GPUDevice | None = None) -> Engine:
        """The bundle on an adapter, anew; on `device`, if it is given. Raises BadBundle, NoAdapter, DeviceLimit."""
        from intaglio.runtime.engine import Engine

        return Engine(self.folder, self.whole_plan, self._progress, device, self._allow_edited)

    def _new(self) -> Session:
        return self.engine.session(self._progress)
