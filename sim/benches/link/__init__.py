"""Benches of `dpnet.gateware.link`."""
