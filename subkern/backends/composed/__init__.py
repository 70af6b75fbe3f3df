"""Implementations made of torch's products and the package's own ops; they read no value back."""
