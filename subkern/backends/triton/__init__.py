"""Triton backend: the kernels of ``triton_kernels``, imported when the first call needs them."""

from subkern.backends.triton import adam, cg_step, combine, gram, group_dot, lowrank_adam

__all__ = ["adam", "cg_step", "combine", "gram", "group_dot", "lowrank_adam"]
