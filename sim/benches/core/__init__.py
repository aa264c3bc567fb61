"""Benches of `dpnet.gateware.core`."""
