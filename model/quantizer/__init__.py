"""One-dimensional clustering of weight rows: exact (dynamic program) and Lloyd's iteration."""
