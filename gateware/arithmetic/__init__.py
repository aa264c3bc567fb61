"""What is done to numbers at the edges: align, normalize, requantize, fp32."""
