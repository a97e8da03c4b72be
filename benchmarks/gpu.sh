#!/bin/sh
# Measures Intaglio on a machine with a GPU, in at most ten minutes. It needs Python, a Vulkan driver, and no network.
#
#   sh benchmarks/gpu.sh pack [--smoke]   where there is a network: makes the models, and build/gpu.tar.xz of them and of
#                                         the packages' wheels, for the same Python and system
#   sh benchmarks/gpu.sh [--smoke]        on the GPU, with that file in build/: build/gpu/ gets results.json, results.md
#
# --smoke takes small models, to try the script on a software adapter.
set -eu
cd "$(dirname "$0")/.."
python=${PYTHON:-python3} folder=build/gpu
export XDG_RUNTIME_DIR="${XDG_RUNTIME_DIR:-/tmp}"

if [ "${1:-}" = pack ]; then
    shift
    .venv/bin/python -m benchmarks.gpu.models "$folder" "$@"
    .venv/bin/python -m pip download --quiet --only-binary :all: -d "$folder/wheels" '.[benchmark]' 'setuptools>=77' wheel
    # The model in f32 is what the one in 4 bits was made of.
    XZ_OPT="-1 -T0" tar --create --xz --file build/gpu.tar.xz --exclude "results.*" \
        --exclude "smollm2-135m-instruct/model.onnx*" --exclude smollm2-f32.npy -C build gpu
    echo "build/gpu.tar.xz: $(du -h build/gpu.tar.xz | cut -f1)"
    exit
fi

[ -d "$folder" ] || tar --extract --file build/gpu.tar.xz -C build
if [ ! -x .venv/bin/python ]; then
    "$python" -m venv .venv
    .venv/bin/python -m pip install --quiet --no-index --find-links "$folder/wheels" 'setuptools>=77' wheel
    .venv/bin/python -m pip install --quiet --no-index --find-links "$folder/wheels" --no-build-isolation -e '.[benchmark]'
fi
exec .venv/bin/python -m benchmarks.gpu "$folder" "$@"
