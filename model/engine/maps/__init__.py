"""The map engine in figures: parameters, records, cycles, placement, and its steps, executable.

Standard library and NumPy only.  `docs/decisions/0010-map-engine.md` has the reasons.
"""
