"""Xilinx Zynq-7000: boards whose engine the processor side reaches through M_AXI_GP0."""
