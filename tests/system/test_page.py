"""The page of a bundle, in a real browser: it loads without errors and without a network, finds nodes, shows shaders.

Names come from strangers' models, so some here try to be more than names.
"""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest
from graphs import model

import intaglio
import tint
from intaglio import page
from intaglio.__main__ import main
from intaglio.page import data
from intaglio.runtime.instruments import profile as profiles
from intaglio.runtime.instruments.profile import Ceilings, Profile, Timing
from intaglio.runtime.instruments.provenance import Operation, Outline

HERE = Path(__file__).parents[1]
FIXTURE = HERE / "fixtures" / "whisper-merged-18"
NAMES = "chromium", "chromium-browser", "google-chrome"


def browse(file: Path, search: str, program: str, step: int = 0) -> dict[str, Any]:
    """What page.mjs saw."""
    browser = next((found for name in NAMES if (found := shutil.which(name))), None)
    assert browser is not None, "Chromium is missing: apt-get install chromium (Debian), as root"
    asked = {"browser": browser, "page": str(file), "search": search, "program": program, "step": step}
    done = subprocess.run(
        [tint.node(), HERE / "support" / "page.mjs"],
        input=json.dumps(asked),
        capture_output=True,
        text=True,
        timeout=300,
    )
    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout)
    assert seen["errors"] == []
    assert seen["requests"] == [f"file://{file}"]
    return seen


@pytest.fixture(scope="module")
def whisper(tmp_path_factory: pytest.TempPathFactory) -> intaglio.Bundle:
    return intaglio.compile(FIXTURE, tmp_path_factory.mktemp("whisper") / "whisper.bundle")


def recorded(bundle: intaglio.Bundle) -> Profile:
    """A profile in which every dispatch took a millisecond."""
    sizes = {symbol: low for symbol, (low, _) in bundle.plan.symbols.items()}
    timings = {n: Timing(sizes, 0.5, (0.001,) * len(p.steps)) for n, p in bundle.plan.programs.items()}
    return Profile("some adapter", "cpu", "timestamps", "digest", Ceilings(1e9, 1e8), timings)


@pytest.mark.parametrize("measured", [False, True], ids=["plain", "with a profile"])
def test_what_a_reader_does(whisper: intaglio.Bundle, tmp_path: Path, measured: bool) -> None:
    arguments = ["inspect", str(whisper.folder), "--html", str(tmp_path / "page.html")]
    if measured:
        (tmp_path / "profile.json").write_text(profiles.write(recorded(whisper)))
        arguments += ["--profile", str(tmp_path / "profile.json")]
    assert main(arguments) == 0
    seen = browse(tmp_path / "page.html", "fc1 matmul decode", "step", 7)
    step = whisper.plan.programs["step"].steps[7]
    nodes = whisper.graph.operation("step", 7).nodes

    overview, timeline, kernels, memory, weights = (
        seen["tabs"][t] for t in list(seen["tabs"])[:1] + list(seen["tabs"])[2:]
    )
    assert list(seen["tabs"]) == ["Overview", "Graph", "Timeline", "Kernels", "Memory", "Weights"]
    assert "whisper, f32" in overview and "fuse_attention" in overview
    assert ("some adapter" in overview) == measured
    for name, program in whisper.plan.programs.items():
        assert re.search(rf"^{name}\s+{len(program.steps)} dispatches", timeline, re.M)
    assert all(kernel in kernels for kernel in whisper.plan.used)
    assert ("of the roofline" in kernels) == measured
    assert "scratch buffers" in memory and "self.0.key" in memory
    held = [b for b in whisper.plan.buffers if b.kind == "weight"]
    assert f"{len(held)} weights" in weights and all(b.name in weights for b in held)

    assert seen["results"] and all("fc1" in r and r.startswith("decode") for r in seen["results"])
    assert seen["found"].startswith("MatMul ") and "runs as" in seen["found"]
    assert seen["picked"] == seen["found"].splitlines()[0]  # it stands in the middle, where the mouse finds it again
    assert seen["dispatch"] == f"step 7: {step.kernel}" and seen["chosen"] == 1
    assert seen["shader"] == (whisper.folder / whisper.plan.kernels[step.kernel].file).read_text()
    assert seen["highlighted"] > 5
    assert all(node in seen["details"] for node in nodes)
    assert ("1 ms" in seen["details"]) == measured
    assert seen["shown"].startswith(whisper.graph.operation("step", 7).op)


def test_names_are_text(tmp_path: Path) -> None:
    evil = ["</script><script>alert(1)</script>", "<img src=x onerror=alert(2)>", "]]>--><!--\u2028{{ data }}"]
    nodes = "a = Softmax(x) b = Transpose<perm=[1,0]>(a) c = Softmax(b) y = Transpose<perm=[1,0]>(c)"
    m = model(f"main (float[2,4] x) => (float[2,4] y) {{ {nodes} }}")
    for node, name in zip(m.graph.node, [*evil, "last"], strict=True):
        node.name = name
    m.graph.output[0].name = m.graph.node[-1].output[0] = "<b>y</b>"
    bundle = intaglio.compile(m, tmp_path / "<i>&amp; bundle")
    page.write(bundle, tmp_path / "page.html")
    text = (tmp_path / "page.html").read_text()
    assert "alert(1)</script>" not in text and "<img src=x" not in text and "<i>&amp;" not in text
    seen = browse(tmp_path / "page.html", "onerror", "main")
    assert any(evil[1] in result for result in seen["results"])
    assert evil[1] in seen["found"] and evil[0] in seen["details"]


def test_two_thousand_nodes_are_quick(whisper: intaglio.Bundle, tmp_path: Path) -> None:
    """In layers with branches, as exports are; drawn at once, and again with every turn of the wheel."""
    operations = [
        Operation("Add", "decode", (f"/node/{i}",), (f"v{i - 1}" if i else "x", f"v{max(0, i - 9)}"), (), (f"v{i}",))
        for i in range(1, 2001)
    ]
    outline = Outline(("v0",), ("v2000",), tuple(operations), {f"v{i}": "f32[1,2]" for i in range(2001)})
    content = data.page(whisper, None)
    begin = time.perf_counter()
    content["models"]["decode"] = data._drawn(outline)
    assert time.perf_counter() - begin < 15
    (tmp_path / "page.html").write_text(page.render(content))
    seen = browse(tmp_path / "page.html", "/node/1234", "step")
    assert seen["found"].startswith("Add /node/1234")
    assert seen["opened"] < 10_000 and seen["redraw"] < 250


def test_an_edited_shader_is_marked(whisper: intaglio.Bundle, tmp_path: Path) -> None:
    folder = Path(shutil.copytree(whisper.folder, tmp_path / "edited"))
    kernel = whisper.plan.programs["step"].steps[0].kernel
    file = folder / whisper.plan.kernels[kernel].file
    file.write_text("// mine\n" + file.read_text())
    page.write(intaglio.load(folder), tmp_path / "page.html")
    seen = browse(tmp_path / "page.html", "fc1", "step")
    assert "edited after it was compiled" in seen["details"] and seen["shader"].startswith("// mine\n")
    assert whisper.plan.kernels[kernel].file in seen["tabs"]["Overview"]


def test_what_cannot_be_written(whisper: intaglio.Bundle, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "profile.json").write_text("{}")
    out = tmp_path / "page.html"
    command = ["inspect", str(whisper.folder), "--html", str(out)]
    assert main([*command, "--profile", str(tmp_path / "profile.json")]) == 1
    assert "profile.json is broken" in capsys.readouterr().err
    assert main([*command, "--profile", str(tmp_path / "missing.json")]) == 1
    assert "missing.json: No such file" in capsys.readouterr().err
    assert main([*command[:-1], str(tmp_path / "no" / "page.html")]) == 1
    assert not out.exists() and {p.name for p in tmp_path.iterdir()} == {"profile.json"}
