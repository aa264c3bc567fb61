"""Amaranth components of the engine, its link and its tops."""
