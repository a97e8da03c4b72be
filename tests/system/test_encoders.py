"""Tiny text encoders as Optimum exports them, against onnxruntime on the same files, pooled as their modules say."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import tokenizers
from onnx import numpy_helper

import intaglio
from intaglio import Bundle

ENCODERS = Path(__file__).parents[1] / "fixtures" / "encoders"
CLASSIFIERS = ("distilbert", "emotions")
EMBEDDERS = tuple(sorted(path.name for path in ENCODERS.iterdir() if path.name not in CLASSIFIERS))
TEXTS = ("And so my fellow Americans", "ask", "what your country can do for you; Sussex!")
LONG = "ask not what your country can do for you " * 20
TOLERANCE = 1e-4


@pytest.fixture(scope="module")
def compiled(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Bundle]:
    return cache(lambda name: intaglio.compile(ENCODERS / name, tmp_path_factory.mktemp("bundles") / name))


def tokens(name: str, bundle: Bundle, *texts: str) -> tokenizers.Encoding:
    """What the exported tokenizer gives, cut as transformers cuts it."""
    tokenizer = tokenizers.Tokenizer.from_file(str(bundle.folder / "tokenizer.json"))
    tokenizer.enable_truncation(json.loads((bundle.folder / "generation.json").read_text())["length"])
    return tokenizer.encode(*texts)


@cache
def session(name: str) -> onnxruntime.InferenceSession:
    return onnxruntime.InferenceSession(ENCODERS / name / "onnx" / "model.onnx", providers=["CPUExecutionProvider"])


def outputs(name: str, encoding: tokenizers.Encoding) -> dict[str, np.ndarray]:
    feeds = {
        "input_ids": encoding.ids,
        "attention_mask": encoding.attention_mask,
        "token_type_ids": encoding.type_ids,
    }
    expected = {i.name for i in session(name).get_inputs()}
    arrays = {key: np.array([value]) for key, value in feeds.items() if key in expected}
    names = [o.name for o in session(name).get_outputs()]
    return {key: np.asarray(y) for key, y in zip(names, session(name).run(names, arrays), strict=True)}


def row(name: str, encoding: tokenizers.Encoding) -> np.ndarray:
    """The row of a text: pooled by the mean, except that bge takes the first token; without and with normalization."""
    results = outputs(name, encoding)
    if name == "pooled":
        return results["sentence_embedding"][0]
    rows = results["last_hidden_state"][0]
    y = rows[0] if name == "bge" else rows.mean(0)
    return y / np.linalg.norm(y) if name in ("bge", "minilm") else y


@pytest.mark.parametrize("name", EMBEDDERS)
def test_rows_agree(name: str, compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled(name)
    expected = [row(name, tokens(name, bundle, text)) for text in TEXTS]
    np.testing.assert_allclose(bundle.embed(TEXTS), expected, rtol=0, atol=TOLERANCE)
    assert bundle.embed([]).shape == (0, len(expected[0]))


@pytest.mark.parametrize("name", EMBEDDERS)
def test_texts_of_any_length(name: str, compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled(name)
    encoding = tokens(name, bundle, LONG)
    longest = len(encoding.ids)
    with pytest.warns(UserWarning, match=rf"text 1 has \d+ tokens; the model reads the first {longest}"):
        np.testing.assert_allclose(bundle.embed([LONG])[0], row(name, encoding), rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", ["bert", "deberta"])
def test_a_file_alone_takes_masks_of_any_length(name: str, tmp_path: Path) -> None:
    """Without configuration it is a plain model, whose masks are data and whose scores are n x n."""
    shutil.copy(ENCODERS / name / "onnx" / "model.onnx", tmp_path / "file.onnx")
    bundle = intaglio.compile(tmp_path / "file.onnx", tmp_path / "bundle")
    for count, padding in ((1, 0), (9, 0), (50, 11)):
        numbers = np.random.default_rng(count).integers(5, 60, (1, count))
        mask = (np.arange(count) < count - padding)[None].astype(np.int64)
        inputs = {"input_ids": numbers, "attention_mask": mask, "token_type_ids": 0 * numbers}
        inputs = {i.name: inputs[i.name] for i in session(name).get_inputs()}
        expected = np.asarray(session(name).run(["last_hidden_state"], inputs)[0])
        actual = bundle.run(inputs)["last_hidden_state"]
        seen = slice(count - padding)
        np.testing.assert_allclose(actual[:, seen], expected[:, seen], rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name", CLASSIFIERS)
@pytest.mark.parametrize("texts", [("my fellow Americans",), ("ask", "what your country")])
def test_probabilities_agree(name: str, texts: tuple[str, ...], compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled(name)
    (scores,) = outputs(name, tokens(name, bundle, *texts))["logits"]
    labels = json.loads((ENCODERS / name / "config.json").read_text())["id2label"]
    powers = np.exp(scores.astype(np.float64))
    expected = powers / powers.sum() if name == "distilbert" else powers / (1 + powers)
    ours = bundle.classify(*texts)
    assert ours == pytest.approx({labels[str(i)]: p for i, p in enumerate(expected)}, abs=TOLERANCE)
    assert [*ours.values()] == sorted(ours.values(), reverse=True)


@pytest.mark.parametrize("name", ["roberta", "distilbert"])
def test_every_step_agrees_with_the_file(name: str, compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled(name)
    assert all(result.passed for result in bundle.verify())
    steps = [*bundle.verify_steps(reference=ENCODERS / name)]
    assert not [step for step in steps if step.verdict == "wrong"]
    assert [step.verdict for step in steps].count("ok") > len(steps) / 2


def test_run_takes_the_inputs_of_the_file(compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled("pooled")
    encoding = tokens("pooled", bundle, TEXTS[0])
    expected = outputs("pooled", encoding)
    inputs = {"input_ids": np.array([encoding.ids]), "attention_mask": np.array([encoding.attention_mask])}
    for name, array in bundle.run(inputs).items():
        np.testing.assert_allclose(array, expected.pop(name), rtol=0, atol=TOLERANCE)
    assert not expected
    inputs["attention_mask"][0, -1] = 0
    with pytest.raises(ValueError, match="attention_mask hides tokens"):
        bundle.run(inputs)


def test_token_ids_in_place_of_texts(compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled("minilm")
    encoding = tokens("minilm", bundle, TEXTS[0])
    np.testing.assert_array_equal(bundle.embed([encoding.ids]), bundle.embed(TEXTS[:1]))
    with pytest.raises(ValueError, match="the token 9999 does not exist"):
        bundle.embed([[9999]])


def test_what_a_model_cannot_do(compiled: Callable[[str], Bundle]) -> None:
    with pytest.raises(ValueError, match="use classify"):
        compiled("distilbert").embed(["ask"])
    with pytest.raises(ValueError, match="use embed"):
        compiled("minilm").classify("ask")
    with pytest.raises(ValueError, match=r"list of texts.*embed\(\[\"...\"\]\)"):
        compiled("minilm").embed("ask")
    with pytest.raises(ValueError, match="not a language model"):
        compiled("minilm").generate("ask")


def test_the_command_line(cli, compiled: Callable[[str], Bundle]) -> None:
    bundle = compiled("minilm")
    status, out, error = cli("run", bundle.folder, "--embed", TEXTS[0], LONG)
    assert status == 0 and "note: text 2 has" in error
    with pytest.warns(UserWarning, match="text 2"):
        expected = bundle.embed([TEXTS[0], LONG])
    np.testing.assert_allclose([json.loads(line) for line in out.splitlines()], expected, rtol=0, atol=1e-6)
    status, out, _ = cli("run", compiled("distilbert").folder, "--classify", "ask", "--pair", "not", "--json")
    assert status == 0 and json.loads(out) == pytest.approx(compiled("distilbert").classify("ask", "not"), abs=1e-6)
    status, _, error = cli("run", bundle.folder, "--prompt", "ask")
    assert status == 1 and "not a language model" in error


def test_what_a_dry_run_says(cli) -> None:
    status, out, _ = cli("compile", ENCODERS / "minilm", "--dry-run")
    lines = [line.split() for line in out.splitlines()]
    assert status == 0 and lines[0][-1] == "encoder"
    assert ["pooling", str(ENCODERS / "minilm/1_Pooling/config.json")] in lines
    assert ["tokenizer", str(ENCODERS / "minilm/tokenizer.json")] in lines


def test_a_default_prompt_stands_before_each_text(compiled: Callable[[str], Bundle], tmp_path: Path) -> None:
    shutil.copytree(ENCODERS / "minilm", tmp_path / "minilm")
    prompts = {"prompts": {"query": "ask "}, "default_prompt_name": "query"}
    (tmp_path / "minilm" / "config_sentence_transformers.json").write_text(json.dumps(prompts))
    bundle = intaglio.compile(tmp_path / "minilm", tmp_path / "bundle")
    np.testing.assert_array_equal(bundle.embed(["what"]), compiled("minilm").embed(["ask what"]))
    assert "'ask '" in bundle.report["notes"][0]


def test_rows_that_are_not_numbers(tmp_path: Path) -> None:
    shutil.copytree(ENCODERS / "minilm", tmp_path / "minilm")
    path = tmp_path / "minilm" / "onnx" / "model.onnx"
    model = onnx.load(path)
    norm = next(tensor for tensor in model.graph.initializer if "LayerNorm.bias" in tensor.name)
    norm.CopyFrom(numpy_helper.from_array(np.full(32, np.nan, np.float32), norm.name))
    onnx.save(model, path)
    with pytest.raises(ValueError, match="a text are NaN"):
        intaglio.compile(tmp_path / "minilm", tmp_path / "bundle").embed(["ask"])
