"""Long rows by windows for their breaks, on grids from coarse to fine."""
