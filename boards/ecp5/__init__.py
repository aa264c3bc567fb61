"""Lattice ECP5 chips: PLL, start-up, place and route, bitstreams, models of the hard cells."""
