"""Fusion passes, which make fewer and larger kernels. The compiler says what a model means; they make it run fast."""
