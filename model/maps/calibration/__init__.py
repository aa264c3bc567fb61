"""From real numbers to scales: what calibration pictures make of each tensor, and the choice."""
