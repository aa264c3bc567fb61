"""Networks of the experiments, and their data."""
