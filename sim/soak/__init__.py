"""The link under years of bad luck: `python -m dpnet.sim.soak` (`make soak`)."""
