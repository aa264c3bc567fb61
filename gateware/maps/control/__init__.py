"""What the map engine's units are told: passes, positions, commands, addresses, writes."""
