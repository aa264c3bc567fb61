"""Benches of `dpnet.gateware.maps`."""
