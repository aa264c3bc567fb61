"""Xilinx 7-series chips: boards as data, clocks, constraints, Vivado, openXC7, counted netlists."""
