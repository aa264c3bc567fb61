"""The compiled halves of the exact quantizer."""
