"""Training with DP-Net: the term of Eq. (3) and a recipe around it."""
