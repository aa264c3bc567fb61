"""Data sets from folders of the user's, as NumPy arrays, and what training does to a batch."""
