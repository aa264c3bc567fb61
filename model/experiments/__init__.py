"""The paper's experiments on real data: their trainer, which runs from a checkout with torch, NumPy,
numba and SciPy alone."""
