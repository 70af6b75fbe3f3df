"""Implementations made of torch's products and the package's own ops; they read no value back."""

from subkern.backends.composed import cg, gram, polar, rsvd, svd_factored, topk_subspace

__all__ = ["cg", "gram", "polar", "rsvd", "svd_factored", "topk_subspace"]
