"""Models of the Hugging Face hub, from a small server that speaks its routes: what is downloaded, what is refused."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import hub_server
import pytest
from hub_server import Hub

import intaglio

FIXTURES = Path(__file__).parents[1] / "fixtures"
Run = Callable[..., subprocess.CompletedProcess[str]]
SMALL = {"config.json", "generation_config.json", "tokenizer.json"}


@pytest.fixture(scope="module")
def repositories(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """A Whisper in three dtypes, a language model with external data, one as GenAI's builder leaves it, and a
    vision-language model in two dtypes."""
    root = tmp_path_factory.mktemp("repositories")
    whisper, llama, genai, vision = (root / name for name in ("whisper", "llama", "genai", "vision"))
    (whisper / "onnx").mkdir(parents=True)
    for path in (FIXTURES / "whisper-merged-18").iterdir():
        for suffix in ("", "_q4", "_fp16") if path.suffix == ".onnx" else ():
            shutil.copy(path, whisper / "onnx" / f"{path.stem}{suffix}.onnx")
        if path.suffix != ".onnx":
            shutil.copy(path, whisper)
    (whisper / "README.md").write_text("nobody needs this")
    (whisper / "vocab.json").write_text("{}")
    (llama / "onnx").mkdir(parents=True)
    for path in (FIXTURES / "llama-dynamo-18").iterdir():
        shutil.copy(path, llama / "onnx" if path.name.startswith("model") else llama)
    (llama / "onnx" / "model_q4.onnx").write_bytes(b"not needed")
    (llama / "model.safetensors").write_bytes(b"not needed")
    shutil.copytree(FIXTURES / "llama-genai", genai / "cpu")
    (genai / "README.md").write_text("nobody needs this")
    shutil.copytree(FIXTURES / "embeds" / "smolvlm", vision)
    for name in ("decoder_model_merged", "embed_tokens"):
        shutil.copy(vision / f"onnx/{name}.onnx", vision / f"onnx/{name}_q4.onnx")
    for name in ("vision_encoder", "vision_encoder_q4", "decoder_model_merged_fp16"):
        (vision / f"onnx/{name}.onnx").write_bytes(b"not needed")
    (vision / "preprocessor_config.json").write_text("{}")
    encoder = root / "encoder"
    shutil.copytree(FIXTURES / "encoders" / "minilm", encoder)
    (encoder / "onnx" / "model_O4.onnx").write_bytes(b"not needed")
    (encoder / "vocab.txt").write_text("not needed")
    plain = root / "plain"
    (plain / "onnx").mkdir(parents=True)
    shutil.copy(FIXTURES / "mlp-torchscript-11" / "model.onnx", plain / "onnx")
    (plain / "config.json").write_text('{"architectures": ["ViTForImageClassification"]}')
    return {
        "some/plain": plain,
        "some/vision": vision,
        "some/encoder": encoder,
        "some/whisper": whisper,
        "some/llama": llama,
        "some/genai": genai,
        hub_server.GATED: whisper,
    }


@pytest.fixture
def hub(repositories: dict[str, Path]) -> Iterator[Hub]:
    with hub_server.serving(repositories) as hub:
        yield hub


@pytest.fixture
def run(hub: Hub, tmp_path: Path) -> Run:
    """A command line in a process of its own, because huggingface_hub reads its settings when it is imported."""
    return lambda *arguments, **settings: command(hub.url, tmp_path, *arguments, **settings)


def command(url: str, folder: Path, *arguments: object, **settings: str) -> subprocess.CompletedProcess[str]:
    environment = {k: v for k, v in os.environ.items() if not k.startswith("HF_")}
    environment |= {"HF_ENDPOINT": url, "HF_HOME": str(folder / "hf"), "HF_HUB_DISABLE_XET": "1"} | settings
    line = [sys.executable, "-m", "intaglio", *map(str, arguments)]
    return subprocess.run(line, env=environment, capture_output=True, text=True, timeout=300, cwd=folder)


def refusal(done: subprocess.CompletedProcess[str]) -> str:
    """The one line that a command is refused with."""
    assert done.returncode == 1 and "Traceback" not in done.stderr
    line = done.stderr.splitlines()[-1]
    assert line.startswith("intaglio: ") and len(line) < 300
    return line


def test_only_the_chosen_dtype_is_downloaded(run: Run, hub: Hub, tmp_path: Path) -> None:
    done = run("compile", "hf:some/whisper", "--dtype", "encoder=fp32,decoder=q4", "-o", "a.bundle")
    assert done.returncode == 0, done.stderr
    models = {"onnx/encoder_model.onnx", "onnx/decoder_model_merged_q4.onnx"}
    assert sorted(hub.sent) == sorted(SMALL | models)
    assert intaglio.load(tmp_path / "a.bundle").plan.kind == "whisper"
    chosen = ("--reference", "hf:some/whisper", "--dtype", "encoder=fp32,decoder=q4")
    assert run("verify", "a.bundle", *chosen).returncode == 0
    hub.sent.clear()
    assert run("compile", "hf:some/whisper@v1", "--dtype", "encoder=fp32,decoder=q4", "-o", "a.bundle").returncode == 0
    assert not hub.sent, "the cache has them"


def test_external_data_is_downloaded_too(run: Run, hub: Hub, tmp_path: Path) -> None:
    done = run("compile", "hf:some/llama", "--dtype", "fp32", "-o", "a.bundle")
    assert done.returncode == 0, done.stderr
    assert {"onnx/model.onnx", "onnx/model.onnx.data", "config.json", "chat_template.jinja"} < set(hub.sent)
    assert not {"onnx/model_q4.onnx", "model.safetensors"} & set(hub.sent)
    offline = run("compile", "hf:some/llama", "--dtype", "fp32", "-o", "b.bundle", HF_HUB_OFFLINE="1")
    assert offline.returncode == 0, offline.stderr
    assert (tmp_path / "a.bundle/plan.json").read_bytes() == (tmp_path / "b.bundle/plan.json").read_bytes()


def test_the_pooling_of_an_encoder_is_downloaded_too(run: Run, hub: Hub, tmp_path: Path) -> None:
    done = run("compile", "hf:some/encoder", "--dtype", "fp32", "-o", "a.bundle")
    assert done.returncode == 0, done.stderr
    small = {"config.json", "modules.json", "1_Pooling/config.json", "sentence_bert_config.json", "tokenizer.json"}
    more = {"tokenizer_config.json", "special_tokens_map.json", "onnx/model.onnx"}
    assert set(hub.sent) == small | more
    assert intaglio.load(tmp_path / "a.bundle").plan.kind == "encoder" and "1_Pooling" not in done.stderr


def test_folders_and_files_of_a_repository(run: Run, hub: Hub, tmp_path: Path) -> None:
    done = run("compile", "hf:some/genai/cpu", "-o", "a.bundle")
    assert done.returncode == 0, done.stderr
    assert {"cpu/model.onnx", "cpu/model.onnx.data", "cpu/genai_config.json"} < set(hub.sent)
    assert intaglio.load(tmp_path / "a.bundle").plan.kind == "language"
    done = run("compile", "hf:some/whisper/onnx/encoder_model_q4.onnx", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "decoder_model_merged_q4.onnx" in done.stdout


def test_the_text_model_of_a_vision_language_model(run: Run, hub: Hub, tmp_path: Path) -> None:
    small = SMALL | {"chat_template.jinja", "tokenizer_config.json"}
    done = run("compile", "hf:some/vision", "--dtype", "decoder=q4,embed_tokens=fp32", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "decoder_model_merged_q4.onnx" in done.stdout and "embed_tokens.onnx" in done.stdout
    assert "vision_encoder" not in done.stdout and set(hub.sent) == small
    done = run("compile", "hf:some/vision", "--dtype", "decoder=q4,embed_tokens=fp32", "-o", "a.bundle")
    assert done.returncode == 0, done.stderr
    assert set(hub.sent) == small | {"onnx/decoder_model_merged_q4.onnx", "onnx/embed_tokens.onnx"}
    assert intaglio.load(tmp_path / "a.bundle").plan.kind == "language"
    line = refusal(run("compile", "hf:some/vision", "-o", "b.bundle"))
    assert "fp32 (371 kB), q4 (371 kB)" in line and "--dtype fp32 or --dtype decoder=" in line


def test_several_dtypes(run: Run, hub: Hub) -> None:
    line = refusal(run("compile", "hf:some/whisper", "-o", "a.bundle"))
    assert "fp32 (429 kB), fp16 (429 kB), q4 (429 kB)" in line and "--dtype" in line
    assert not any(file.endswith(".onnx") for file in hub.sent)


def test_a_dry_run_downloads_no_model(run: Run, hub: Hub) -> None:
    done = run("compile", "hf:some/whisper", "--dtype", "q4", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert "encoder_model_q4.onnx" in done.stdout and "q4" in done.stdout and "tokenizer.json" in done.stdout
    assert set(hub.sent) == SMALL


def test_a_dry_run_downloads_a_model_that_its_configuration_does_not_tell(run: Run, hub: Hub) -> None:
    done = run("compile", "hf:some/plain", "--dry-run")
    assert done.returncode == 0, done.stderr
    assert ": model" in done.stdout and "onnx/model.onnx" in done.stdout
    assert set(hub.sent) == {"config.json", "onnx/model.onnx"}


def test_what_the_hub_does_not_have(run: Run) -> None:
    assert "some/none" in refusal(run("compile", "hf:some/none", "-o", "a"))
    assert "no revision v9; leave out @v9" in refusal(run("compile", "hf:some/whisper@v9", "-o", "a"))
    line = refusal(run("compile", "hf:some/gated", "-o", "a"))
    assert "gated" in line and "some/gated" in line and "hf auth login" in line
    line = refusal(run("compile", "hf:some/genai/gpu", "-o", "a"))
    assert "no gpu" in line and "cpu" in line
    assert "name one of hf:some/genai/cpu" in refusal(run("compile", "hf:some/genai", "-o", "a"))
    assert "expected hf:OWNER/NAME" in refusal(run("compile", "hf:whisper", "-o", "a"))


def test_without_a_network(tmp_path: Path) -> None:
    done = command("http://127.0.0.1:9", tmp_path, "compile", "hf:some/whisper", "-o", "a")
    assert "cannot be reached" in refusal(done)
    done = command("http://127.0.0.1:9", tmp_path, "compile", "hf:some/whisper", "-o", "a", HF_HUB_OFFLINE="1")
    assert "cannot be reached" in refusal(done)


def test_without_the_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(intaglio.BadModel, match=r"pip install 'intaglio\[hub\]'"):
        intaglio.compile("hf:some/whisper", tmp_path / "a.bundle")
