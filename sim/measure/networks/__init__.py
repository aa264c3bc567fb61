"""`make networks`: every network of MLPerf Tiny and of the paper on the map engine in RTL."""
