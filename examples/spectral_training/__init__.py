"""What the examples of Sparse Spectral Training share: methods, the command line, reports."""
