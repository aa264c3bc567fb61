"""The ways in: UART, AXI4-Lite, AXI3."""
