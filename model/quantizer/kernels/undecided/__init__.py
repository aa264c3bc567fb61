"""What float64 leaves undecided, and the errors that are no squares about a mean."""
