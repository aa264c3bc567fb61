"""`dpnet doctor`: what this machine lacks.  `python -m dpnet.host.doctor` needs no package."""
