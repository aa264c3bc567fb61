"""Memories, the bus of stores, selection and lockstep: what several rooms build with."""
