"""cocotb benches, one per component."""
