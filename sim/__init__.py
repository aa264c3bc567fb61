"""Simulators, cocotb benches, bus models and the simulated board."""
