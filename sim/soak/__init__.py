"""The link under years of bad luck: `python -m sim.soak` (`make soak`)."""
