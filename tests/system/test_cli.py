"""The command line and the Python face: results on standard output, one line per error, exit statuses, no leftovers."""

from __future__ import annotations

import io
import itertools
import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import warnings
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import onnx
import onnx.parser
import pytest
import soundfile
from bundles import accept, store_plan
from onnx import TensorProto, helper, numpy_helper
from parity import opened
from safetensors.numpy import save_file

import intaglio
from intaglio.__main__ import main
from intaglio.commands.progress import ProgressLine
from intaglio.runtime.files import describe
from intaglio.runtime.instruments import golden
from intaglio.runtime.plan import Buffer, Kernel, Plan, Program, Step
from intaglio.runtime.tasks.whisper.transcript import Segment, Transcript

ROOT = Path(__file__).parents[2]
WHISPER = ROOT / "tests" / "fixtures" / "whisper-split-18"
JFK = ROOT / "examples" / "jfk.wav"
SWIFTSHADER = "/usr/lib/chromium/vk_swiftshader_icd.json"
WEIGHT = np.arange(12, dtype=np.float32).reshape(4, 3) / 10


def model(dimension: int | str = "N") -> onnx.ModelProto:
    """/out/y = relu(x @ w) * scale, for x f32[N,4] and scale f32[]."""
    float_ = TensorProto.FLOAT
    graph = helper.make_graph(
        [
            helper.make_node("MatMul", ["x", "w"], ["product"]),
            helper.make_node("Relu", ["product"], ["positive"]),
            helper.make_node("Mul", ["positive", "scale"], ["/out/y"]),
        ],
        "g",
        [
            helper.make_tensor_value_info("x", float_, [dimension, 4]),
            helper.make_tensor_value_info("scale", float_, []),
        ],
        [helper.make_tensor_value_info("/out/y", float_, [dimension, 3])],
        [numpy_helper.from_array(WEIGHT, "w")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)])


X = np.linspace(-1, 2, 8, dtype=np.float32).reshape(2, 4)
Y = np.maximum(X @ WEIGHT, 0) * 2


@pytest.fixture(scope="module")
def whisper(tmp_path_factory) -> Path:
    """The bundle of a tiny random Whisper."""
    bundle = tmp_path_factory.mktemp("whisper") / "whisper.bundle"
    intaglio.compile(WHISPER, bundle)
    return bundle


@pytest.fixture(scope="module")
def plain(tmp_path_factory) -> Path:
    """The bundle of `model`, any number of rows."""
    bundle = tmp_path_factory.mktemp("plain") / "plain.bundle"
    intaglio.compile(model(), bundle)
    return bundle


@pytest.fixture
def tensors(tmp_path) -> list[str]:
    """The arguments that give x and scale."""
    np.save(tmp_path / "x.npy", X)
    np.save(tmp_path / "scale.npy", np.float32(2))
    return ["--input", f"x={tmp_path / 'x.npy'}", "--input", f"scale={tmp_path / 'scale.npy'}"]


def one_line(status: int, error: str, message: str) -> None:
    """Progress may stand before it."""
    assert status == 1
    last = error.splitlines()[-1]
    assert last.startswith("intaglio: ") and message in last
    assert "Traceback" not in error


# compile


def test_compile(cli, tmp_path):
    status, out, error = cli("compile", WHISPER, "-o", tmp_path / "a.bundle")
    assert (status, out) == (0, "")
    assert "6 programs" in error.splitlines()[-1]
    assert {path.name for path in tmp_path.iterdir()} == {"a.bundle"}


def test_compile_replaces_a_bundle_and_repeats_itself(cli, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    contents = []
    for source in tmp_path / "model.onnx", tmp_path:
        assert cli("compile", source, "-o", tmp_path / "out" / "a.bundle")[0] == 0
        files = [path for path in sorted((tmp_path / "out").rglob("*")) if path.is_file()]
        contents.append({path: path.read_bytes() for path in files})
    assert contents[0] == contents[1]


def test_compile_dumps_and_is_verbose(cli, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    arguments = ["--dump", tmp_path / "dump", "-v"]
    status, _, error = cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle", *arguments)
    assert status == 0
    assert "main: fold: " in error
    texts = sorted((tmp_path / "dump").iterdir())
    assert texts and all("graph main" in path.read_text() for path in texts)


def test_compile_binds_sizes_and_inputs(cli, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    np.save(tmp_path / "scale.npy", np.float32(2))
    bundle = tmp_path / "a.bundle"
    binds = ["--bind", "N=2", "--bind", f"scale={tmp_path / 'scale.npy'}"]
    assert cli("compile", tmp_path / "model.onnx", "-o", bundle, *binds)[0] == 0
    opened = intaglio.load(bundle)
    assert list(opened.plan.programs["main"].inputs) == ["x"]
    assert not opened.plan.symbols
    np.testing.assert_allclose(opened.run({"x": X})["/out/y"], Y, atol=1e-5)
    assert cli("verify", bundle)[0] == 0


def test_compile_lets_sizes_vary_in_a_range(cli, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    bundle = tmp_path / "a.bundle"
    assert cli("compile", tmp_path / "model.onnx", "-o", bundle, "--bind", "N=2..6")[0] == 0
    opened = intaglio.load(bundle)
    assert [*opened.plan.symbols.values()] == [(2, 6)]
    scale = np.float32(2)
    np.testing.assert_allclose(opened.run({"x": X, "scale": scale})["/out/y"], Y, atol=1e-5)
    with pytest.raises(ValueError, match=r"axis 0 is 7; .*compiled for 2 to 6; .*--bind x\.0=2\.\.7$"):
        opened.run({"x": np.zeros((7, *X.shape[1:]), np.float32), "scale": scale})


def test_compile_notes_narrowed_numbers(cli, tmp_path):
    text = '<ir_version: 8, opset_import: ["" : 18]> main (int64[3] x) => (int64[3] y) { [big] y = Mul(x, x) }'
    onnx.save(onnx.parser.parse_model(text), tmp_path / "model.onnx")
    status, _, error = cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle")
    assert status == 0
    assert "i64 and u64 in 32 bits: larger numbers wrap around; 1 nodes: big" in error


@pytest.mark.parametrize(
    "binds, message",
    [
        ({"M": 2}, "M cannot be bound: .* x, scale, N"),
        ({"N": 0}, "--bind N=0"),
        ({"N": np.zeros(2)}, "--bind N="),
        ({"N": range(0, 4)}, "--bind N="),
        ({"N": range(4, 4)}, "--bind N="),
        ({"N": range(1, 9, 2)}, "--bind N="),
        ({"N": 2**40}, "--bind N="),
        ({"scale": np.zeros(2)}, "has rank 0"),
    ],
)
def test_compile_refuses_to_bind(tmp_path, binds, message):
    with pytest.raises(intaglio.BadModel, match=message):
        intaglio.compile(model(), tmp_path / "a.bundle", bind=binds)
    assert not list(tmp_path.iterdir())


def test_compile_refuses_to_bind_a_whisper(cli, tmp_path):
    status, _, error = cli("compile", WHISPER, "-o", tmp_path / "a", "--bind", "N=2")
    one_line(status, error, "--bind")


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("missing.onnx", None, "does not exist"),
        ("broken.onnx", b"no model", "is not an ONNX model"),
        ("empty", {}, "no .onnx file, in itself or in onnx/; name the .onnx file"),
        ("bert", {"config.json": b'{"model_type": "bert"}', "encoder_model.onnx": b""}, "'bert'; expected whisper"),
        (
            "half",
            {"config.json": b'{"model_type": "whisper"}'},
            "has no decoder_model_merged.onnx or decoder_model.onnx",
        ),
    ],
)
def test_compile_refuses_a_model(cli, tmp_path, name, content, message):
    source = tmp_path / name
    if isinstance(content, dict):
        source.mkdir()
        for file, data in content.items():
            (source / file).write_bytes(data)
    elif content is not None:
        source.write_bytes(content)
    before = set(tmp_path.rglob("*"))
    status, out, error = cli("compile", source, "-o", tmp_path / "a.bundle")
    one_line(status, error, message)
    assert out == "" and set(tmp_path.rglob("*")) == before


def test_compile_explains_a_rule(cli, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    status, out, _ = cli("compile", tmp_path / "model.onnx", "--explain", "Bias")
    assert status == 0 and {path.name for path in tmp_path.iterdir()} == {"model.onnx"}
    assert out.splitlines() == ["main: Bias fired 0 times", "  the graph has no Add, with which a match begins"]
    status, out, error = cli("compile", tmp_path / "model.onnx", "--explain", "Sing")
    one_line(status, error, "unknown rule 'Sing'; the rules are Attention, Bias, ")
    assert out == ""
    strange = model()
    strange.graph.node[1].op_type, strange.graph.node[1].domain = "Sing", "example"
    onnx.save(strange, tmp_path / "model.onnx")
    one_line(*cli("compile", tmp_path / "model.onnx", "--explain", "Bias")[::2], "example.Sing")


def test_an_explanation_takes_the_batch_that_compile_takes(cli, tmp_path):
    free = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]> g (float[batch, 4] x) => (float[batch, k] y) {
            count = Shape<start=0, end=1>(x)
            most, indices = TopK(x, count)
            y = Relu(most)
        }"""
    )
    onnx.save(free, tmp_path / "model.onnx")
    status, out, _ = cli("compile", tmp_path / "model.onnx", "--explain", "Gelu")
    assert status == 0 and "Gelu fired 0 times" in out and "note: the batch (batch) is 1" in out.splitlines()[-1]
    assert cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle")[0] == 0
    assert cli("verify", tmp_path / "a.bundle", "--reference", tmp_path / "model.onnx")[0] == 0


def test_numbers_that_overflow_are_no_warnings(cli, tmp_path):
    """They become what IEEE 754 says, while constants are folded, and while golden values are computed."""
    loud = onnx.parser.parse_model(
        """<ir_version: 10, opset_import: ["" : 18]> g (float[4] x) => (float[4] y, float[4] z)
        <float[1] big = {1e5}, float[1] zero = {0}, double[1] large = {1e300}> {
            a = Exp(big)
            b = Div(zero, zero)
            c = Cast<to=1>(large)
            d = Add(a, c)
            y = Add(x, d)
            e = Log(x)
            z = Add(e, b)
        }"""
    )
    onnx.save(loud, tmp_path / "model.onnx")
    np.save(tmp_path / "x.npy", np.array([1e30, np.nan, -1, np.inf], np.float32))
    with warnings.catch_warnings(record=True) as heard:
        warnings.simplefilter("always")
        for options in ([], ["--precision", "f16"]):
            assert cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle", *options)[0] == 0
        cli("verify", tmp_path / "a.bundle", "--all")
        status, out, _ = cli("run", tmp_path / "a.bundle", "--input", f"x={tmp_path / 'x.npy'}")
    assert not [str(w.message) for w in heard if issubclass(w.category, RuntimeWarning)]
    assert status == 0 and "[inf nan inf inf]" in out


def test_compile_refuses_an_operator(cli, tmp_path):
    strange = model()
    strange.graph.node[1].op_type, strange.graph.node[1].domain = "Sing", "example"
    onnx.save(strange, tmp_path / "model.onnx")
    status, _, error = cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle")
    one_line(status, error, "example.Sing")
    assert {path.name for path in tmp_path.iterdir()} == {"model.onnx"}


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_compile_overwrites_nothing_but_bundles(cli, tmp_path, kind):
    kept = tmp_path / "kept" if kind == "file" else tmp_path / "folder" / "kept"
    kept.parent.mkdir(exist_ok=True)
    kept.write_text("kept")
    status, _, error = cli("compile", WHISPER, "-o", kept if kind == "file" else kept.parent)
    one_line(status, error, "exists and is not a bundle")
    assert kept.read_text() == "kept"


def test_without_the_compiler(tmp_path):
    """As after `pip install intaglio`: onnx is not there."""
    program = (
        "import sys; sys.modules['onnx'] = None; from intaglio.__main__ import main; "
        f"sys.exit(main(['compile', {str(WHISPER)!r}, '-o', {str(tmp_path / 'a')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    one_line(done.returncode, done.stderr, "pip install 'intaglio[compiler]'")


# run


def test_run_tensors(cli, plain, tensors, tmp_path):
    status, out, _ = cli("run", plain, *tensors)
    assert status == 0 and out.startswith("/out/y: float32[2, 3]\n[[")
    status, out, _ = cli("run", plain, *tensors, "--json", "--program", "main")
    np.testing.assert_allclose(json.loads(out)["/out/y"], Y, atol=1e-5)
    status, out, _ = cli("run", plain, *tensors, "--output", tmp_path / "out")
    assert (status, out) == (0, "/out/y: float32[2, 3]\n")
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["_out_y.npy"]
    np.testing.assert_allclose(np.load(tmp_path / "out" / "_out_y.npy"), Y, atol=1e-5)


def test_run_audio(cli, whisper):
    status, out, _ = cli("run", whisper, "--audio", JFK, "--json", "--language", "en")
    heard = json.loads(out)
    assert status == 0 and list(heard) == [field.name for field in fields(Transcript)]
    assert heard["language"] == "en" and heard["duration"] == 11.0
    assert all(list(s) == [field.name for field in fields(Segment)] for s in heard["segments"])
    assert cli("run", whisper, "--audio", JFK, "--language", "en")[1] == heard["text"] + "\n"


def test_transcribe_takes_files_and_samples(whisper):
    bundle = intaglio.load(whisper)
    samples, rate = soundfile.read(JFK, dtype="float32")
    assert rate == 16_000
    heard = [
        bundle.transcribe(JFK, language="de", temperature=0),
        bundle.transcribe(str(JFK), language="de", temperature=0),
        bundle.transcribe(io.BytesIO(JFK.read_bytes()), language="de", temperature=0),
        bundle.transcribe(samples, rate, language="de", temperature=0),
        bundle.transcribe(np.stack([samples, samples], axis=1), rate=rate, language="de", temperature=0),
    ]
    assert all(transcript == heard[0] for transcript in heard)
    assert len(heard[0].segments) > 10 and heard[0].duration == 11.0
    with pytest.raises(ValueError, match="rate=16000"):
        bundle.transcribe(samples)
    with pytest.raises(ValueError, match="only with samples"):
        bundle.transcribe(JFK, rate=rate)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--audio", "missing.wav"], "missing.wav is missing"),
        (["--audio", __file__], "is not a recording: expected WAV, FLAC, "),
        (["--audio", JFK, "--language", "xx"], "'xx'; this model supports 5; `intaglio languages BUNDLE` lists"),
        (["--input", "x=missing.npy"], "missing.npy: No such file"),
        (["--input", f"x={__file__}"], "is not a .npy file"),
        (["--input", f"x={JFK}", "--program", "sing"], "is not a .npy file"),
    ],
)
def test_run_refuses(cli, whisper, arguments, message):
    status, out, error = cli("run", whisper, *arguments)
    one_line(status, error, message)
    assert out == "" and len(error.splitlines()) == 1  # before the adapter is opened


def test_languages(cli, whisper, plain):
    status, out, _ = cli("languages", whisper)
    assert status == 0 and out.splitlines()[:2] == ["zh   Chinese, Mandarin", "en   English"]
    assert json.loads(cli("languages", whisper, "--json")[1])["es"] == ["Spanish", "Castilian"]
    status, out, error = cli("languages", plain)
    one_line(status, error, "is not a Whisper")


def test_run_refuses_tensors(cli, plain, whisper, tensors, tmp_path):
    x = tensors[:2]
    one_line(*cli("run", plain, *x)[::2], "needs the inputs scale")
    one_line(*cli("run", plain, *tensors, "--input", x[1].replace("x=", "z=", 1))[::2], "no inputs z")
    one_line(*cli("run", plain, *tensors, "--program", "step")[::2], "has no program 'step'")
    one_line(*cli("run", plain, "--audio", JFK)[::2], "is not a Whisper")
    np.save(tmp_path / "x.npy", np.zeros((2, 5), np.float32))
    one_line(*cli("run", plain, *tensors)[::2], "got [2, 5]")
    np.save(tmp_path / "x.npy", np.array([None]))
    one_line(*cli("run", plain, *tensors)[::2], "is not a .npy file")
    np.savez(tmp_path / "x.npy", a=X)
    (tmp_path / "x.npy.npz").rename(tmp_path / "x.npy")
    one_line(*cli("run", plain, *tensors)[::2], "several arrays")


# inspect, verify, device


def test_inspect(cli, whisper):
    status, out, error = cli("inspect", whisper)
    plan = intaglio.load(whisper).whole_plan
    assert (status, error) == (0, "")
    for name, program in plan.programs.items():
        assert f"program {name}: {len(program.steps)} dispatches" in out
    assert f"kernels: {len(plan.used)}" in out and f": {len(plan.kernels)} kernels in all" in out
    assert f"dispatches per token: {len(plan.programs['step'].steps)}" in out
    assert all(word in out for word in ("memory", "weight", "scratch", "state", "weights-00001.safetensors"))
    assert all(name in out for name in plan.used)


def test_inspect_a_kernel(cli, whisper):
    for name, kernel in intaglio.load(whisper).whole_plan.kernels.items():
        assert cli("inspect", whisper, "--kernel", name) == (0, (whisper / kernel.file).read_text() + "\n", "")
    status, _, error = cli("inspect", whisper, "--kernel", "sing")
    one_line(status, error, "has no kernel 'sing'")


def test_verify(cli, whisper, plain):
    status, out, _ = cli("verify", whisper)
    assert status == 0
    *rows, conclusion = out.splitlines()
    assert re.fullmatch(r"all \d+ outputs agree with onnxruntime [\d.]+", conclusion)
    programs = {line.split()[2] for line in rows}
    assert programs == {"mel", "detect", "encode", "prefill", "step"} and "FAIL" not in out
    assert cli("verify", plain)[0] == 0


@pytest.fixture
def wrong(plain, tmp_path) -> Path:
    """`plain` with a minimum where its shader had a maximum."""
    broken = shutil.copytree(plain, tmp_path / "wrong.bundle")
    kernel = next(k for k in intaglio.load(broken).plan.kernels.values() if "elementwise" in k.file)
    text = (broken / kernel.file).read_text()
    assert "max(" in text
    (broken / kernel.file).write_text(text.replace("max(", "min("))
    return broken


def test_verify_names_the_first_wrong_step(cli, wrong):
    one_line(*cli("verify", wrong)[::2], "compile the model again, or verify it with --allow-edited")
    status, out, error = cli("verify", wrong, "--allow-edited")
    one_line(status, error, "1 of 1 outputs are wrong; the first error is in step 1 of main")
    edited, output, _, step, *described = out.splitlines()
    assert edited.startswith("edited: kernels/elementwise")
    assert output.startswith("FAIL  0 main /out/y: error ")
    assert step.startswith("the first wrong step is step 1 of main: elementwise")
    assert [line.split()[0] for line in described] == ["shader", "computes", "wrote", "worst", "read", "read"]
    assert described[0].endswith(".wgsl, edited") and "Relu_1, Mul_2" in described[1]


def test_verify_by_hashes_alone_is_not_enough(cli, wrong):
    """A bundle whose hashes are right and whose shader is not: that is what golden values are for."""
    kernel = next(k for k in intaglio.load(wrong).plan.kernels.values() if "elementwise" in k.file)
    accept(wrong, wrong / kernel.file)
    status, out, error = cli("verify", wrong)
    one_line(status, error, "1 of 1 outputs are wrong")
    assert "edited" not in out


def test_verify_as_json(cli, plain, wrong):
    status, out, _ = cli("verify", plain, "--json")
    good = json.loads(out)
    assert (status, good["passed"], good["first_wrong"], good["edited"]) == (0, True, None, [])
    assert [(o["output"], o["passed"]) for o in good["outputs"]] == [("/out/y", True)]
    status, out, _ = cli("verify", wrong, "--json", "--all", "--allow-edited")
    bad = json.loads(out)
    assert (status, bad["passed"], bad["first_wrong"]["step"]) == (1, False, 1)
    assert [s["verdict"] for s in bad["steps"]] == ["ok", "wrong"]
    assert bad["first_wrong"]["inputs"][1]["value"] == "scale"


def test_verify_lists_every_step(cli, plain):
    status, out, _ = cli("verify", plain, "--all")
    lines = out.splitlines()
    assert status == 0 and lines[-1].endswith("2 steps compared, none is wrong")
    assert lines[1].startswith("ok    0 main 0 matmul") and lines[2].startswith("ok    0 main 1 elementwise")


def test_verify_does_not_say_wrong_and_none_of_them_wrong(cli, plain, tmp_path):
    """The steps agree with the graph, the outputs do not agree with the oracle: the model was misread."""
    misread = shutil.copytree(plain, tmp_path / "misread.bundle")
    bundle = intaglio.load(misread)
    (check,) = golden.read(misread, bundle.plan)
    shifted = {name: golden.Slice(right.values + 1, right.at) for name, right in check.outputs.items()}
    (misread / golden.FILE).write_bytes(golden.write([replace(check, outputs=shifted)], {"x"}))
    accept(misread, misread / golden.FILE)
    status, out, error = cli("verify", misread)
    one_line(status, error, "1 of 1 outputs are wrong; its steps do what the compiler meant")
    assert "none" not in out and "--reference MODEL" in error
    status, out, _ = cli("verify", misread, "--json")
    result = json.loads(out)
    assert (status, result["passed"], result["first_wrong"]) == (1, False, None)
    assert result["conclusion"] in error and result["outputs"][0]["by"].startswith("onnxruntime")


def test_verify_against_the_model(cli, plain, wrong, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    reference = ["--reference", tmp_path / "model.onnx"]
    status, out, _ = cli("verify", plain, *reference)
    assert status == 0 and out.endswith("2 steps compared, none is wrong\n")
    status, _, error = cli("verify", wrong, *reference, "--allow-edited")
    one_line(status, error, "the first error is in step 1 of main")
    assert cli("verify", plain, *reference, "--tolerance", "0")[0] == 0  # so small a model is exact
    assert cli("verify", wrong, *reference, "--allow-edited", "--tolerance", "100")[0] == 0


def test_verify_against_another_model(cli, plain, tmp_path):
    other = model()
    other.graph.initializer[0].CopyFrom(numpy_helper.from_array(WEIGHT + 1, "w"))
    onnx.save(other, tmp_path / "weights.onnx")
    status, _, error = cli("verify", plain, "--reference", tmp_path / "weights.onnx")
    one_line(status, error, "the first error is in step 0 of main")
    wide = model()
    wide.graph.initializer[0].CopyFrom(numpy_helper.from_array(np.ones((4, 5), np.float32), "w"))
    onnx.save(wide, tmp_path / "wide.onnx")
    message = "has shape [3, 5], the bundle's [3, 3]"
    one_line(*cli("verify", plain, "--reference", tmp_path / "wide.onnx")[::2], message)
    one_line(*cli("verify", plain, "--reference", WHISPER)[::2], "another model, whose parts are main")
    one_line(*cli("verify", plain, "--reference", tmp_path / "missing.onnx")[::2], "does not exist")


def test_verify_with_what_was_bound(cli, tmp_path):
    np.save(tmp_path / "scale.npy", np.float32(2))
    onnx.save(model(), tmp_path / "model.onnx")
    binds = ["--bind", f"scale={tmp_path / 'scale.npy'}", "--bind", "N=2"]
    assert cli("compile", tmp_path / "model.onnx", "-o", tmp_path / "a.bundle", *binds)[0] == 0
    command = ["verify", tmp_path / "a.bundle", "--reference", tmp_path / "model.onnx"]
    assert cli(*command, *binds)[0] == 0
    one_line(*cli(*command)[::2], "cannot run the model on the golden inputs")


def test_without_onnxruntime(plain, tmp_path):
    onnx.save(model(), tmp_path / "model.onnx")
    program = (
        "import sys; sys.modules['onnxruntime'] = None; from intaglio.__main__ import main; "
        f"sys.exit(main(['verify', {str(plain)!r}, '--reference', {str(tmp_path / 'model.onnx')!r}]))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True)
    one_line(done.returncode, done.stderr, "the compiler needs onnxruntime: pip install 'intaglio[compiler]'")


def test_bench(cli, whisper):
    status, out, _ = cli("bench", whisper, "--runs", "3")
    lines = out.splitlines()
    rows = {line.split()[0]: line for line in lines if line}
    assert status == 0 and lines[0].startswith("adapter ") and {"start", "cold", "warm"} < rows.keys()
    assert re.search(r" first +total +CPU of pipelines +peak memory$", rows["start"]) and re.search(
        r" m?s +\d[\d.]* [MG]B$", rows["cold"]
    )
    assert {"program", "mel", "encode", "prefill", "step"} < rows.keys()
    assert "new_tokens=2" in rows["prefill"] and "past=3" in rows["step"] and rows["encode"].endswith("s")
    assert [line for line in lines if line.startswith("  a token, ")][1].startswith("  a token, 64 per submit: ")


def test_bench_at_another_size(cli, whisper):
    status, out, _ = cli("bench", whisper, "--runs", "3", "--size", "new_tokens=9", "--json")
    found = json.loads(out)
    assert status == 0 and found["programs"]["prefill"]["symbols"]["new_tokens"] == 9 and found["profile"] is None
    one_line(*cli("bench", whisper, "--size", "U=9")[::2], "unknown size U; this bundle has begin, new_tokens")


def test_bench_with_a_profile(cli, whisper, tmp_path):
    plan, files = opened(whisper).plan, [tmp_path / "trace.json", tmp_path / "profile.json"]
    status, out, _ = cli("bench", whisper, "--runs", "3", "--trace", files[0], "--save", files[1])
    assert status == 0 and {path.name for path in tmp_path.iterdir()} == {"trace.json", "profile.json"}
    for name, program in plan.programs.items():
        assert f"in {len(program.steps)} dispatches" in out and f"program {name}: " in out
    assert all(kernel in out for kernel in plan.used) and "of roofline" in out
    events = json.loads(files[0].read_text())["traceEvents"]
    dispatches = [e for e in events if e["ph"] == "X"]
    assert [e["name"] for e in dispatches] == [s.name({}) for p in plan.programs.values() for s in p.steps]
    assert {e["args"]["name"] for e in events if e["name"] == "thread_name"} == plan.programs.keys()
    assert all(e["dur"] >= 0 and e["args"]["nodes"] for e in dispatches)
    for thread in {e["tid"] for e in dispatches}:  # one after the other
        ends = [(e["ts"], e["ts"] + e["dur"]) for e in dispatches if e["tid"] == thread]
        assert all(end <= begin + 1e-6 for (_, end), (begin, _) in itertools.pairwise(ends))


def test_bench_as_json(cli, plain):
    status, out, _ = cli("bench", plain, "--profile", "--runs", "3", "--json")
    found = json.loads(out)
    assert status == 0 and found["token"] == {} and found["starts"].keys() == {"cold", "warm"}
    for start in found["starts"].values():
        seconds = start["seconds"]
        assert 0 < start["cpu"] < 60
        assert seconds.keys() == {"python", "device", "upload", "pipelines", "load", "session", "warm-up", "first"}
        assert 0 < max(seconds["upload"], seconds["pipelines"]) <= seconds["load"] < 60 and start["peak"] > 1 << 20
    first, second = found["profile"]["programs"]["main"]
    assert first["kernel"].startswith("matmul") and first["nodes"] == ["MatMul_0"] and first["flops"] == 72
    assert second["seconds"] >= 0 and second["nodes"] == ["Relu_1", "Mul_2"]
    assert all(found["profile"]["ceilings"][what] > 0 for what in ("flops", "bytes"))


def test_bench_takes_edited_shaders(cli, wrong):
    one_line(*cli("bench", wrong)[::2], "its hash differs")
    status, out, _ = cli("bench", wrong, "--runs", "3", "--allow-edited")
    assert status == 0 and out.startswith("edited: kernels/elementwise")


def test_device(cli):
    status, out, _ = cli("device")
    assert status == 0 and "(used)" in out and "driver" in out and "max-buffer-size" in out and "features" in out
    assert "    default        yes  every bundle runs\n" in out and "    subgroups " in out and "    shader-f16 " in out
    assert "    larger-limits  " in out
    assert "\n  tuning   " in out


def test_adapter(cli, whisper, monkeypatch):
    """By index and by name, on the command line and in the environment; an unknown one: status 2 with the list."""
    status, out, _ = cli("device", "--adapter", "0")
    assert status == 0 and out.startswith("0: ") and "(used)" in out.splitlines()[0]
    for command in ["run", whisper, "--audio", JFK], ["device"], ["verify", whisper], ["bench", whisper]:
        status, out, error = cli(*command, "--adapter", "no-such-adapter")
        assert status == 2 and out == "" and error.count("\n") == 1
        assert "no-such-adapter" in error and "0 (" in error
    monkeypatch.setenv("INTAGLIO_ADAPTER", "no-such-adapter")
    assert cli("device")[0] == 2 and cli("device", "--adapter", "0")[0] == 0


@pytest.mark.skipif(not Path(SWIFTSHADER).exists(), reason="needs a second driver: SwiftShader's, of Debian's chromium")
def test_two_drivers():
    """Each of two adapters by index and by name; wgpu's warnings stay out of standard error."""
    both = os.environ | {"VK_DRIVER_FILES": f"/usr/share/vulkan/icd.d/lvp_icd.x86_64.json:{SWIFTSHADER}"}
    for name in "llvmpipe", "swiftshader", "0", "1":
        command = [sys.executable, "-m", "intaglio", "device", "--adapter", name]
        done = subprocess.run(command, env=both, capture_output=True, text=True, cwd=ROOT.anchor)
        used = [line for line in done.stdout.splitlines() if line.endswith(" (used)")]
        assert done.returncode == 0 and done.stderr == "" and len(used) == 1
        assert name in used[0].lower() if not name.isdecimal() else used[0].startswith(name)


def test_no_adapter(whisper):
    nowhere = os.environ | {"VK_DRIVER_FILES": "/nonexistent", "VK_ICD_FILENAMES": "/nonexistent"}
    for arguments in ["device"], ["verify", str(whisper)]:
        done = subprocess.run(
            [sys.executable, "-m", "intaglio", *arguments], env=nowhere, capture_output=True, text=True, cwd=ROOT.anchor
        )
        one_line(done.returncode, done.stderr, "no WebGPU adapter")
        assert "(used)" not in done.stdout


# bundles


def test_no_bundle(cli, tmp_path):
    for command in ["inspect"], ["verify"], ["run", "--audio", JFK]:
        status, _, error = cli(command[0], tmp_path, *command[1:])
        one_line(status, error, "is not a bundle")


@pytest.mark.parametrize(
    "name", ["tokenizer.json", "generation.json", "golden.safetensors", "weights-00001.safetensors"]
)
def test_a_changed_file(cli, whisper, tmp_path, name):
    broken = tmp_path / "broken.bundle"
    shutil.copytree(whisper, broken)
    (broken / name).write_bytes((broken / name).read_bytes() + b" ")
    command = ["verify", broken] if name.startswith("golden") else ["run", broken, "--audio", JFK]
    status, out, error = cli(*command)
    one_line(status, error, f"{name} was changed after compiling")
    assert out == ""


def test_report(whisper, tmp_path):
    assert intaglio.load(whisper).report["dispatches_per_token"]
    broken = tmp_path / "broken.bundle"
    shutil.copytree(whisper, broken)
    for content, message in ((b"{", "is broken"), (b"[]", "is broken"), (None, "is missing")):
        (broken / "report.json").unlink(missing_ok=True)
        if content is not None:
            (broken / "report.json").write_bytes(content)
        with pytest.raises(intaglio.BadBundle, match=message):
            _ = intaglio.load(broken).report


def test_the_exceptions_are_found_by_name():
    for name in (
        "AudioError",
        "BadBundle",
        "BadModel",
        "DeviceLimit",
        "DeviceLost",
        "NanScores",
        "NoAdapter",
        "NoCompiler",
        "UnsupportedOperator",
    ):
        assert issubclass(getattr(intaglio, name), Exception)
    with pytest.raises(AttributeError, match="no attribute 'Sing'"):
        _ = intaglio.Sing


# calls that are wrong, and ends that are not the program's choice


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["sing"],
        ["compile", "model.onnx"],
        ["compile", "model.onnx", "-o", "a", "--explain", "Gelu"],
        ["compile", "model.onnx", "-o", "a", "--bind", "N"],
        ["compile", "model.onnx", "-o", "a", "--bind", "N=two"],
        ["compile", "model.onnx", "-o", "a", "--bind", "x=missing.npy"],
        ["run", "a"],
        ["run", "a", "--audio", "b.wav", "--input", "x=x.npy"],
        ["run", "a", "--audio", "b.wav", "--program", "main"],
        ["run", "a", "--audio", "b.wav", "--task", "sing"],
        ["run", "a", "--input", "x.npy"],
        ["run", "a", "--input", "x=x.npy", "--timestamps"],
        ["inspect"],
    ],
)
def test_usage(cli, arguments):
    status, out, error = cli(*arguments)
    assert (status, out) == (2, "") and error.startswith("usage: intaglio")


def test_interrupted(cli, monkeypatch):
    def interrupt(*_: object, **options: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(intaglio, "load", interrupt)
    assert cli("verify", "a.bundle") == (130, "", "intaglio: interrupted\n")


def test_the_reader_goes_away(whisper):
    command = [sys.executable, "-m", "intaglio", "inspect", str(whisper)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd=ROOT.anchor) as process:
        process.stdout.close()
        assert process.stderr.read() == b""
        assert process.wait() == 141


def test_mistakes_of_ours_are_not_hidden(monkeypatch):
    def fail(*_: object, **options: object) -> None:
        raise KeyError("ours")

    monkeypatch.setattr(intaglio, "load", fail)
    with pytest.raises(KeyError):
        main(["verify", "a.bundle"])


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    "stream, written",
    [
        (io.StringIO(), "weights\npipelines\n"),
        (Terminal(), "\r\x1b[2Kweights 0 %\r\x1b[2Kpipelines 50 %\r\x1b[2K"),
    ],
)
def test_progress(stream, written):
    progress = ProgressLine(stream)
    for done in range(100):
        progress("weights", done, 1000)
    progress("pipelines", 1, 2)
    progress.clear()
    assert stream.getvalue() == written


def test_interrupted_while_loading(tmp_path):
    """In a process of its own, as soon as it says that it loads: what is on its way ends at once."""
    folder = tmp_path / "bundle"
    folder.mkdir()
    size = {"texture": (2048, 1024), "format": "rgba32float"}
    names = [f"w{i}" for i in range(12)]
    save_file({name: np.zeros(2048 * 1024 * 4, np.float32) for name in names}, folder / "a.safetensors")
    weights = [Buffer("weight", 32 << 20, n, files=("a.safetensors",), **size) for n in names]
    x = Buffer("input", 4, "x", "f32", (1,))
    files = {"a.safetensors": describe((folder / "a.safetensors").read_bytes(), pieces=True)}
    (folder / "kernels").mkdir()
    (folder / "kernels/k.wgsl").write_text("@compute @workgroup_size(1) fn main() {}")
    files["kernels/k.wgsl"] = describe((folder / "kernels/k.wgsl").read_bytes())
    kernels = {"k": Kernel("kernels/k.wgsl", ("read texture f32",) * 12, False)}
    steps = (Step("k", tuple(range(12)), (1, 1, 1)),)
    store_plan(folder, Plan("model", {}, kernels, (*weights, x), {"main": Program({"x": 12}, {}, steps)}, files))
    np.save(tmp_path / "x.npy", np.zeros(1, np.float32))
    command = [sys.executable, "-m", "intaglio", "run", str(folder), "--input", f"x={tmp_path / 'x.npy'}"]
    assert subprocess.run(command, capture_output=True).returncode == 0
    running = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert running.stderr.readline() == "weights\n"
    running.send_signal(signal.SIGINT)
    begin = time.perf_counter()
    assert running.communicate(timeout=60) == ("", "intaglio: interrupted\n")
    assert running.returncode == 130 and time.perf_counter() - begin < 2
