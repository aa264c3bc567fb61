"""Benches of what tells the map engine's units what to do; they run inside the simulation."""
