"""Fusion: fewer, larger kernels. The compiler says what a model means; these passes say how it runs well."""
