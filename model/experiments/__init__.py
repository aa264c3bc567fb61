"""The paper's experiments on real data, and their trainer: torch, NumPy, numba and SciPy alone."""
