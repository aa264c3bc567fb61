"""`dpnet doctor`: what this machine has and lacks.  `python -m host.doctor` needs no package."""
