"""The device tree of the engine behind M_AXI_GP0."""

from __future__ import annotations

from dpnet.gateware.doors.axi import ADDRESS_BITS
from dpnet.gateware.doors.axi3 import GP0_BASE

FCLK0 = 15
"""Number of FCLK0 at the Zynq's clock controller, `clkc`."""


def overlay(firmware: str, mhz: float) -> str:
    """Source of an overlay that loads the file `firmware` from /lib/firmware through the FPGA
    manager, sets FCLK0 to `mhz`, and makes the door a UIO device named `dpnet`."""
    size = 1 << ADDRESS_BITS
    return f"""\
/dts-v1/;
/plugin/;

// dtc -@ -O dtb -o dpnet.dtbo dpnet.dts
// The kernel needs uio_pdrv_genirq.of_id=generic-uio on its command line.

&fpga_full {{
	#address-cells = <1>;
	#size-cells = <1>;
	firmware-name = "{firmware}";

	// Xilinx' kernel keeps the clock on because of this; with any other, the board's own device
	// tree needs fclk-enable = <0x1> in &clkc.
	dpnet_clock: dpnet-clock {{
		compatible = "xlnx,fclk";
		#clock-cells = <0>;
		clocks = <&clkc {FCLK0}>;
		clock-output-names = "dpnet";
		assigned-clocks = <&clkc {FCLK0}>;
		assigned-clock-rates = <{round(mhz * 1e6)}>;
	}};

	dpnet@{GP0_BASE:x} {{
		compatible = "generic-uio";
		reg = <0x{GP0_BASE:x} 0x{size:x}>;
	}};
}};
"""
