"""The meaning of every op in plain PyTorch. Imports torch alone; the truth for every test."""
