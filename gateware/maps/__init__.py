"""The map engine: many positions of feature maps at a time."""
