"""Triton backend: the kernels of ``triton_kernels``, imported when the first call needs them."""
