"""Measurements in RTL: `make sim`, `make arrays`, `make baselines`, `make faults`, `make
networks`."""
