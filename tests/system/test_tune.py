"""tune, and compile --tuning: from what is measured here to a bundle that has it."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import pytest
from parity import Build, compiled, device

import intaglio
from intaglio.__main__ import main
from intaglio.codegen.bundle import tunings
from intaglio.commands.device import shipped_tuning
from intaglio.runtime import plan as plans
from intaglio.runtime import plan_file, tuning
from intaglio.runtime.instruments import autotune
from intaglio.runtime.instruments.verify import Check

MODEL = Path(__file__).parents[1] / "fixtures" / "mlp-dynamo-18" / "model.onnx"


def designs(plan: plans.Plan) -> dict[str, str]:
    return {s.choice.case: s.choice.design for p in plan.programs.values() for s in p.steps if s.choice}


def test_what_is_measured_is_what_a_bundle_gets(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle = intaglio.compile(MODEL, tmp_path / "bundle")
    assert main(["tune", str(bundle.folder)]) == 0
    file = tmp_path / "bundle.tuning.json"
    measured = tuning.read(file)
    said = capsys.readouterr().out
    choices = {s.choice.case: s.choice for p in bundle.plan.programs.values() for s in p.steps if s.choice}
    assert choices
    for case, choice in choices.items():
        assert measured.seconds[case].keys() == {choice.design, *choice.others}, "all run here, and all are right"
        assert case in said and all(f"  {design} " in said for design in measured.seconds[case])
    for case, times in measured.seconds.items():
        slowest = max(times, key=times.__getitem__)
        times[slowest] = min(times.values()) / 10  # so that noise decides nothing
        assert measured.tuning([choices[case]]).choices == ({case: slowest} if slowest != choices[case].design else {})
    file.write_text(tuning.write(measured))
    tuned = intaglio.compile(MODEL, tmp_path / "tuned", tuning=[file])
    assert designs(tuned.engine.plan) == {c: min(s, key=s.__getitem__) for c, s in measured.seconds.items()}
    again = intaglio.compile(MODEL, tmp_path / "again", tuning=[file])
    assert (again.folder / "plan.json").read_bytes() == (tuned.folder / "plan.json").read_bytes()


def test_more_is_added_to_a_file_of_this_adapter_only(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    bundle, file = intaglio.compile(MODEL, tmp_path / "bundle"), tmp_path / "t.json"
    name, driver = tuning.adapter(device().adapter_info)
    file.write_text(tuning.write(tuning.Measured(name, driver, {"conv1d 1": {"rows8": 1.0}})))
    assert main(["tune", str(bundle.folder), "-o", str(file)]) == 0
    assert tuning.read(file).seconds.keys() == {"conv1d 1", *designs(bundle.plan)}
    file.write_text(tuning.write(tuning.Measured("another", driver, {})))
    before = file.read_bytes()
    assert main(["tune", str(bundle.folder), "-o", str(file)]) != 0
    assert "the tuning file is for another" in capsys.readouterr().err and file.read_bytes() == before


def spoil(folder: Path, files: Iterable[str]) -> None:
    """Shaders of products that are 1 % too large, with the hashes that they then have."""
    data = json.loads((folder / "plan.json").read_text())
    for file in files:
        text = (folder / file).read_text()
        (folder / file).write_text(text.replace("return load_x(at);", "return load_x(at) * 1.01;"))
        assert (folder / file).read_text() != text
        digest = hashlib.sha256((folder / file).read_bytes()).hexdigest()
        data["files"][file] = digest
        next(k for k in data["kernels"].values() if k["file"] == file)["sha256"] = digest
    (folder / "plan.json").write_text(json.dumps(data))


def tried(folder: Path) -> autotune.Trials:
    """As of a model whose golden run tells nothing: its input is zeros, of which every design makes zeros."""
    check = Check("main", {}, {"x": np.zeros((1, 40, 32), np.float32)}, {}, {})
    return autotune.trials(folder, plan_file.read(folder), [check], lambda what, done, total: None)


def test_a_design_that_is_wrong_here_is_left_out(tmp_path: Path) -> None:
    b = Build()
    folder = compiled(b.output(b.Linear(b.input("x", 1, 40, 32), b.weight(64, 32))), tmp_path / "bundle")
    plan = plan_file.read(folder)
    (step,) = plan.programs["main"].steps
    spoil(folder, [plan.kernels[step.choice.others["rows8"][0]].file])
    found = tried(folder)
    assert found.wrong == ((step.choice.case, "rows8"),)
    assert "rows8" not in found.measured.seconds[step.choice.case]


@pytest.fixture
def chain(tmp_path: Path) -> Path:
    """Three products in slots of one size: the third writes over what the second reads, which a softmax made."""
    b = Build()
    x = b.Softmax(b.Linear(b.input("x", 1, 40, 32), b.weight(64, 32)), axis=2)
    x = b.Softmax(b.Softmax(b.Linear(x, b.weight(64, 64)), axis=2), axis=1)
    folder = compiled(b.output(b.Softmax(b.Linear(x, b.weight(48, 64)), axis=2)), tmp_path / "chain")
    plan = plan_file.read(folder)
    _, second, third = [step.buffers for step in plan.programs["main"].steps if step.choice]
    assert second[0] == third[-1] and plan.buffers[second[-1]] == plan.buffers[third[-1]]
    return folder


def test_right_designs_are_kept_where_cases_share_memory(chain: Path) -> None:
    assert tried(chain).wrong == ()


def test_wrong_designs_are_found_in_slots_of_one_size(chain: Path) -> None:
    plan = plan_file.read(chain)
    choices = [step.choice for step in plan.programs["main"].steps if step.choice]
    spoil(chain, {plan.kernels[choice.others["rows8"][0]].file for choice in choices})
    assert set(tried(chain).wrong) == {(choice.case, "rows8") for choice in choices}


def test_what_is_shipped_is_for_adapters_that_can_be_told_apart() -> None:
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
    assert f"{missing} is unreadable: No such file" in capsys.readouterr().err
    assert not (tmp_path / "bundle").exists()
