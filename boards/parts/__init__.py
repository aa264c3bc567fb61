"""What every board has around its engine: the link's pins, lamps; a frame for measurements."""
