"""What the compilers of GPUs make of a bundle's kernels, without a GPU: `python -m benchmarks.isa`, `make isa`."""
