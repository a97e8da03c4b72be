"""What is taken of a folder: the layouts of exporters and of hubs, and what is said where several files fit."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from intaglio.compiler.ir.errors import BadModel
from intaglio.compiler.models import families
from intaglio.compiler.models.family import Request
from intaglio.compiler.models.language.family import LanguageModel
from intaglio.compiler.models.layout import DECODER, ENCODER, MODEL, Layout
from intaglio.compiler.models.plain.family import PlainModel
from intaglio.compiler.models.whisper.family import Whisper

FIXTURES = Path(__file__).parents[2] / "fixtures"
WHISPER, LLAMA = FIXTURES / "whisper-merged-18", FIXTURES / "llama-optimum-18"


def hub(source: Path, out: Path, *suffixes: str) -> Path:
    """A fixture as hubs lay it out: .onnx files in `onnx/`, once for each suffix, everything else above."""
    (out / "onnx").mkdir(parents=True)
    for path in source.iterdir():
        if path.suffix == ".onnx":
            for suffix in suffixes or ("",):
                shutil.copy(path, out / "onnx" / f"{path.stem}{suffix}.onnx")
        else:
            shutil.copy(path, out / path.name)
    return out


def refusal(call, *arguments) -> str:
    """The one line that a call is refused with."""
    with pytest.raises(BadModel) as caught:
        call(*arguments)
    text = str(caught.value)
    assert "\n" not in text and len(text) < 300
    return text


@pytest.mark.parametrize("suffix", ["", "_q4", "_fp16", "_int8", "_uint8", "_quantized", "_q4f16", "_bnb4"])
def test_the_one_dtype_of_a_hub_is_taken(tmp_path: Path, suffix: str) -> None:
    layout = Layout.of(hub(WHISPER, tmp_path / "whisper", suffix))
    assert families.family_of(layout) is Whisper
    assert layout.file(ENCODER).path == tmp_path / f"whisper/onnx/encoder_model{suffix}.onnx"
    assert layout.file(DECODER).path == tmp_path / f"whisper/onnx/decoder_model_merged{suffix}.onnx"
    assert layout.file(DECODER).dtype == (suffix[1:] or "fp32")
    layout = Layout.of(hub(LLAMA, tmp_path / "llama", suffix))
    assert families.family_of(layout) is LanguageModel
    assert layout.file(MODEL).path == tmp_path / f"llama/onnx/model{suffix}.onnx"


def test_other_folders_with_models_do_not_hide_what_to_type(tmp_path: Path) -> None:
    folder = hub(LLAMA, tmp_path / "llama", "", "_q4")
    (folder / "openvino").mkdir()
    shutil.copy(folder / "onnx" / "model.onnx", folder / "openvino" / "model.onnx")
    assert "choose with --dtype" in refusal(Layout.of(folder).file, MODEL)


def test_of_several_dtypes_one_is_chosen(tmp_path: Path) -> None:
    folder = hub(WHISPER, tmp_path / "whisper", "", "_q4", "_quantized")
    text = refusal(Layout.of(folder).file, DECODER)
    assert "fp32 (429 kB), q4 (429 kB), quantized (429 kB)" in text
    assert "--dtype fp32 or --dtype encoder=fp32,decoder=fp32" in text
    names = {d: Layout.of(folder, d).file(DECODER).path.name for d in ("q4", "q8", "encoder=fp32,decoder=q4")}
    assert names["q4"] == names["encoder=fp32,decoder=q4"] == "decoder_model_merged_q4.onnx"
    assert names["q8"] == "decoder_model_merged_quantized.onnx"
    assert Layout.of(folder, "encoder=fp32,decoder=q4").file(ENCODER).path.name == "encoder_model.onnx"
    assert "no encoder in int4; choose from fp32, q4, quantized" in refusal(Layout.of(folder, "int4").file, ENCODER)
    assert "decoder" in refusal(Layout.of(folder, "encoder=q4").file, DECODER)
    for wrong in ("encoder=", "coder=q4", "q4,"):
        assert "expected a dtype such as q4" in refusal(Layout.of, folder, wrong)


def test_sizes_count_external_data(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"x" * 1000)
    (tmp_path / "model.onnx_data").write_bytes(b"x" * 2_000_000)
    (tmp_path / "model.onnx_data_1").write_bytes(b"x" * 1_000_000)
    (tmp_path / "model_q4.onnx").write_bytes(b"x" * 1000)
    (tmp_path / "model_q4.onnx.data").write_bytes(b"x" * 9000)
    assert "fp32 (3 MB), q4 (10 kB); choose with --dtype q4" in refusal(Layout.of(tmp_path).file, MODEL)


def test_a_dtype_for_one_part_leaves_the_other_its_only_one(tmp_path: Path) -> None:
    folder = hub(WHISPER, tmp_path / "whisper")
    shutil.copy(folder / "onnx/decoder_model_merged.onnx", folder / "onnx/decoder_model_merged_q4.onnx")
    layout = Layout.of(folder, "decoder=q4")
    assert layout.file(ENCODER).dtype == "fp32" and layout.file(DECODER).dtype == "q4"


@pytest.mark.parametrize("role", ["encoder_model", "decoder_model_merged"])
def test_a_named_part_means_the_whisper(tmp_path: Path, role: str) -> None:
    folder = hub(WHISPER, tmp_path / "whisper", "", "_q4")
    layout = Layout.of(folder / f"onnx/{role}_q4.onnx")
    assert families.family_of(layout) is Whisper
    assert [layout.file(part).dtype for part in (ENCODER, DECODER)] == ["q4", "q4"]
    mixed = Layout.of(folder / "onnx/encoder_model.onnx", "decoder=q4")
    assert [mixed.file(part).dtype for part in (ENCODER, DECODER)] == ["fp32", "q4"]
    assert "is fp32" in refusal(Layout.of(folder / "onnx/encoder_model.onnx", "q4").file, ENCODER)


def test_a_decoder_with_a_cache_means_the_whisper_too(tmp_path: Path) -> None:
    shutil.copytree(FIXTURES / "whisper-split-18", tmp_path / "w")
    layout = Layout.of(tmp_path / "w/decoder_with_past_model.onnx")
    assert families.family_of(layout) is Whisper
    assert layout.sources()[DECODER].path.name == "decoder_model.onnx"


def test_many_dtypes_fit_one_line(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    names = ("", "_fp16", "_int8", "_uint8", "_quantized", "_q4", "_q4f16", "_bnb4")
    for name in names:
        (folder / f"model{name}.onnx").write_bytes(b"x" * 123_456)
    text = refusal(Layout.of(folder).file, MODEL)
    assert all(f"{name[1:] or 'fp32'} (123 kB)" in text for name in names)


def test_a_named_file_finds_its_configuration(tmp_path: Path) -> None:
    folder = hub(LLAMA, tmp_path / "llama", "", "_q4")
    layout = Layout.of(folder / "onnx/model_q4.onnx")
    assert families.family_of(layout) is LanguageModel
    model = LanguageModel.read(layout, Request())
    assert model.files.keys() == {"tokenizer.json", "chat_template.jinja"}
    assert model.settings["end"] == [300, 302]


def test_the_folder_of_the_onnx_files_finds_what_lies_above(tmp_path: Path) -> None:
    layout = Layout.of(hub(LLAMA, tmp_path / "llama") / "onnx")
    assert families.family_of(layout) is LanguageModel
    assert layout.find("config.json") == tmp_path / "llama/config.json"


def test_files_in_the_folder_itself_come_first(tmp_path: Path) -> None:
    folder = hub(LLAMA, tmp_path / "llama", "_q4")
    shutil.copy(LLAMA / "model.onnx", folder / "model.onnx")
    assert Layout.of(folder).file(MODEL).path == folder / "model.onnx"


def test_a_lone_file_of_any_name_is_the_model(tmp_path: Path) -> None:
    for name in ("model_optimized.onnx", "detector.onnx"):
        folder = tmp_path / name
        folder.mkdir()
        shutil.copy(FIXTURES / "mlp-torchscript-11" / "model.onnx", folder / name)
        assert families.family_of(Layout.of(folder)) is PlainModel
        assert Layout.of(folder).file(MODEL).path == folder / name


def test_several_files_of_other_names_are_not_guessed_at(tmp_path: Path) -> None:
    for name in ("a.onnx", "b.onnx"):
        (tmp_path / name).touch()
    text = refusal(Layout.of(tmp_path).file, MODEL)
    assert "2 .onnx files" in text and str(tmp_path / "a.onnx") in text
    assert "no .onnx file" in refusal(Layout.of(FIXTURES / "audio").file, MODEL)
    assert "does not exist" in refusal(Layout.of, tmp_path / "none")


def test_inner_folders_are_named(tmp_path: Path) -> None:
    for name in ("cpu/int4", "cuda"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "model.onnx").touch()
    text = refusal(Layout.of(tmp_path).file, MODEL)
    assert f"{tmp_path}/cpu/int4" in text and f"{tmp_path}/cuda" in text


def test_a_configuration_beside_the_file_hides_the_one_above(tmp_path: Path) -> None:
    folder = hub(LLAMA, tmp_path / "llama")
    (folder / "onnx/config.json").write_text("{}")
    assert Layout.of(folder).json("config.json") == {}


def test_the_configuration_of_a_whisper_beside_another_model(tmp_path: Path) -> None:
    """The file that the refusal says to name is then read by its inputs."""
    folder = shutil.copytree(LLAMA, tmp_path / "llama")
    shutil.copy(WHISPER / "config.json", folder)
    layout = Layout.of(folder)
    file = folder / "model.onnx"
    text = refusal(families.family_of(layout).read, layout, Request())
    assert "config.json" in text and "is of a Whisper" in text and f"name {file}" in text
    assert families.family_of(Layout.of(file)) is LanguageModel
