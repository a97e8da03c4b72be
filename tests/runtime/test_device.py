"""The adapter that a call or the environment names."""

from __future__ import annotations

from types import SimpleNamespace

import pytest

from intaglio.runtime import device
from intaglio.runtime.errors import NoAdapter, UnknownAdapter

NAMES = "NVIDIA RTX 4090", "AMD Radeon RX 7900", "NVIDIA RTX 3060", "llvmpipe (LLVM 15.0.6, 256 bits)"


@pytest.fixture
def machine(monkeypatch: pytest.MonkeyPatch) -> None:
    found = [SimpleNamespace(info={"device": name, "backend_type": "Vulkan"}) for name in NAMES]
    monkeypatch.setattr(device, "adapters", lambda: found)
    monkeypatch.setattr(device, "_best", lambda: found[1])
    monkeypatch.delenv(device.VARIABLE, raising=False)


def chosen(name: str | int | None = None) -> str:
    return device.choose(name).info["device"]


@pytest.mark.parametrize(
    "name, index",
    [(None, 1), ("", 1), (0, 0), ("2", 2), ("radeon", 1), ("nvidia", 0), ("RTX 30", 2), ("llvm", 3), ("4090", 0)],
)
def test_an_adapter_by_index_or_name(machine: None, name: str | int | None, index: int) -> None:
    assert chosen(name) == NAMES[index]


def test_the_environment_says_which_unless_the_call_does(machine: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(device.VARIABLE, "llvmpipe")
    assert chosen() == NAMES[3] and chosen(0) == NAMES[0]


@pytest.mark.parametrize("name", ["4", "-1", "15", "Intel", "x" * 500])
def test_an_unknown_adapter(machine: None, name: str) -> None:
    with pytest.raises(UnknownAdapter) as error:
        chosen(name)
    assert "3 (llvmpipe" in str(error.value) and "0 (NVIDIA RTX 4090)" in str(error.value)
    assert len(str(error.value)) < 300 and name[:40] in str(error.value)


def test_a_machine_without_adapters(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(device, "adapters", list)
    with pytest.raises(NoAdapter):
        device.choose("llvmpipe")
