"""Map engines for chips: sizes with names, what they take, and which one suits a network."""
