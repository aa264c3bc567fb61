"""`make mutants`: faults of the netlist, one at a time, and whether the benches notice them."""
