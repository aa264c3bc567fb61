"""What the exact quantizer is held against: other algorithms, limits, timings."""
