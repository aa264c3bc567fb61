"""Benches of `dpnet.gateware.baselines`."""
