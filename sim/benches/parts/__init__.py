"""Benches of `dpnet.gateware.parts`."""
