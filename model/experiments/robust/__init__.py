"""Networks that stand attacks: TRADES in training, projected gradients when they are judged."""
