"""Whole networks as the engine's layers, still in real numbers: fused from a graph, and computed.

What is decided here is which operators a layer takes together and which tensors there are; what
their values are in integers is decided behind it.
"""
