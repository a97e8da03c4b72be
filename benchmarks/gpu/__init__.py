"""What is measured on a machine with a GPU, in ten minutes: benchmarks/gpu.sh."""
