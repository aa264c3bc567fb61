"""Networks with shared weights: codebooks, training, compression, images, golden model."""
