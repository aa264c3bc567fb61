"""Networks as the engine sees them: one small graph of our own, NumPy only.

`nodes` says what a graph is.  Everything after the import (folding, calibration, integers, images,
engines) reads and writes these graphs and nothing of PyTorch.
"""
