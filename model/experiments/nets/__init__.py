"""What is done to a net besides training: folded norms put back, weights pruned, values shared."""
