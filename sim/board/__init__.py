"""Simulated boards: an engine's Verilog, compiled, behind the host's transports."""
