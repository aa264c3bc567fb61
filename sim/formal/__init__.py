"""Control blocks proved by k-induction (SymbiYosys, z3), with planted bugs that the proofs find."""
