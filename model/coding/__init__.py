"""Entropy-constrained codebooks and entropy-coded files."""
