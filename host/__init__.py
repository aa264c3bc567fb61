"""Transports, the driver and the `dpnet` command."""
