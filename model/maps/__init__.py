"""Whole networks in integers: the layers that the map engine computes (NumPy only).

`layers` says what a layer is and promises; calibration and rounding make layers of a
`dpnet.model.graph`, the golden model computes them, images hold them, engines run them.
"""
