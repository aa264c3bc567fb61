"""Engines in figures: parameters, layout of the stores, cycles, resources, proposals."""
