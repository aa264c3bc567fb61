"""Golden models: the engine's operations in NumPy integers, equal to the gateware bit for bit.

Each operation is one frozen dataclass; `compute()` is its result, and the component of the same
name in `gateware/` is built from the same object.
"""
