"""Run a PyTorch network on an FPGA with almost no multipliers, and prove that it is right."""
