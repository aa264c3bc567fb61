"""Models of what is at the other end: engines, hosts, bus managers, lines."""
