"""Timing next to XLA and PyTorch, and trials of whole configurations."""
