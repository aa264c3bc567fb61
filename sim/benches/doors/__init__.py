"""Benches of `dpnet.gateware.doors` and of the tops behind them."""
