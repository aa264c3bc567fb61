"""Benches of `dpnet.gateware.array`."""
