"""Rows by a price per cluster: the best partition is a shortest path."""
