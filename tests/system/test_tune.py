"""tune, and compile --tuning: from what is measured here to a bundle that has it."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from bundles import accept, whole_plan
from parity import Build, compiled, device

import intaglio
from intaglio.__main__ import main
from intaglio.codegen.bundle import tunings
from intaglio.commands.device import shipped_tuning
from intaglio.runtime import plan as plans
from intaglio.runtime import tuning
from intaglio.runtime.instruments import autotune
from intaglio.runtime.instruments.golden import Check

MODEL = Path(__file__).parents[1] / "fixtures" / "mlp-dynamo-18" / "model.onnx"


def variants(plan: plans.Plan) -> dict[str, str]:
    return {problem: each.variant for problem, each in plan.alternatives.items()}


def test_what_is_measured_is_what_a_bundle_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = intaglio.compile(MODEL, tmp_path / "bundle")
    assert main(["tune", str(bundle.folder)]) == 0
    file = tmp_path / "bundle.tuning.json"
    measured = tuning.read(file)
    said = capsys.readouterr().out
    alternatives = bundle.whole_plan.alternatives
    assert alternatives
    for problem, each in alternatives.items():
        assert measured.seconds[problem].keys() == {each.variant, *each.others}, "all run here, and all are right"
        assert problem in said and all(f"  {variant} " in said for variant in measured.seconds[problem])
    for problem, times in measured.seconds.items():
        slowest = max(times, key=times.__getitem__)
        times[slowest] = min(times.values()) / 10  # so that noise decides nothing
        assert measured.tuning([alternatives[problem]]).variants == {problem: slowest}
    file.write_text(tuning.write(measured))
    tuned = intaglio.compile(MODEL, tmp_path / "tuned", tuning=[file])
    steps = [step for program in tuned.engine.plan.programs.values() for step in program.steps if step.alternatives]
    assert {step.alternatives.problem: step.choice.variants for step in steps} == {
        problem: (min(seconds, key=seconds.__getitem__),) for problem, seconds in measured.seconds.items()
    }
    again = intaglio.compile(MODEL, tmp_path / "again", tuning=[file])
    assert (again.folder / "designs.json").read_bytes() == (tuned.folder / "designs.json").read_bytes()


def test_more_is_added_to_a_file_of_this_adapter_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, file = intaglio.compile(MODEL, tmp_path / "bundle"), tmp_path / "t.json"
    name, driver = tuning.adapter(device().adapter_info)
    file.write_text(tuning.write(tuning.Measurements(name, driver, {"conv1d 1": {"rows8": 1.0}})))
    assert main(["tune", str(bundle.folder), "-o", str(file)]) == 0
    assert tuning.read(file).seconds.keys() == {"conv1d 1", *variants(bundle.whole_plan)}
    file.write_text(tuning.write(tuning.Measurements("another", driver, {})))
    before = file.read_bytes()
    assert main(["tune", str(bundle.folder), "-o", str(file)]) != 0
    assert "the tuning file is for another" in capsys.readouterr().err and file.read_bytes() == before


def spoil(folder: Path, files: Iterable[str]) -> None:
    """Shaders of products that are 1 % too large, with the hashes that they then have."""
    paths = [folder / file for file in files]
    for path in paths:
        text = path.read_text()
        path.write_text(text.replace("return load_x(at);", "return load_x(at) * 1.01;"))
        assert path.read_text() != text
    accept(folder, *paths)


def tried(folder: Path) -> autotune.Timings:
    """As of a model whose golden run tells nothing: its input is zeros, of which every variant makes zeros."""
    check = Check("main", {}, {"x": np.zeros((1, 40, 32), np.float32)}, {}, {}, {}, 1e-4, "onnxruntime")
    return autotune.autotune(folder, whole_plan(folder), [check], lambda what, done, total: None)


def test_a_variant_that_is_wrong_here_is_left_out(tmp_path: Path) -> None:
    b = Build()
    folder = compiled(b.output(b.Linear(b.input("x", 1, 40, 32), b.weight(64, 32))), tmp_path / "bundle")
    plan = whole_plan(folder)
    (step,) = plan.programs["main"].steps
    spoil(folder, [plan.kernels[step.alternatives.others["rows8"][0].kernel].file])
    found = tried(folder)
    assert found.wrong == ((step.alternatives.problem, "rows8"),)
    assert "rows8" not in found.measured.seconds[step.alternatives.problem]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Three products in slots of one size: the third writes over what the second reads, which a softmax made."""
    b = Build()
    x = b.Softmax(b.Linear(b.input("x", 1, 40, 32), b.weight(64, 32)), axis=2)
    x = b.Softmax(b.Softmax(b.Linear(x, b.weight(64, 64)), axis=2), axis=1)
    folder = compiled(b.output(b.Softmax(b.Linear(x, b.weight(48, 64)), axis=2)), tmp_path / "chain")
    plan = whole_plan(folder)
    _, second, third = [step.buffers for step in plan.programs["main"].steps if step.alternatives]
    assert second[0] == third[-1] and plan.buffers[second[-1]] == plan.buffers[third[-1]]
    return folder


def test_right_variants_are_kept_where_problems_share_memory(chain: Path) -> None:
    assert tried(chain).wrong == ()


def test_wrong_variants_are_found_in_slots_of_one_size(chain: Path) -> None:
    plan = whole_plan(chain)
    alternatives = [step.alternatives for step in plan.programs["main"].steps if step.alternatives]
    spoil(chain, {plan.kernels[each.others["rows8"][0].kernel].file for each in alternatives})
    assert set(tried(chain).wrong) == {(each.problem, "rows8") for each in alternatives}


def test_shipped_tunings_are_for_different_adapters() -> None:
    shipped = tunings.shipped()
    assert shipped and len({(m.device, m.driver) for m in shipped}) == len(shipped)
    assert all(m.seconds for m in shipped)


def test_whether_a_tuning_for_an_adapter_is_built_in() -> None:
    m = tunings.shipped()[0]
    assert shipped_tuning({"device": m.device, "description": m.driver}) == "built in"
    other = shipped_tuning({"device": m.device, "description": "another driver"})
    assert other == f"built in, measured on {m.device}, {m.driver or 'unknown driver'}"
    assert shipped_tuning({"device": "another", "description": m.driver}).startswith("none is built in")


def test_no_tuning_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = str(tmp_path / "none.json")
    assert main(["compile", str(MODEL), "-o", str(tmp_path / "bundle"), "--tuning", missing]) != 0
    error = capsys.readouterr().err
    assert missing in error and "No such file" in error
    assert not (tmp_path / "bundle").exists()
