"""Benches of `dpnet.gateware.arithmetic`."""
