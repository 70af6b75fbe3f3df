"""Reconstruction of a brain slice with a small diffusion model: parts of examples/dds.py."""
