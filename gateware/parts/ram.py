"""Memory of the stores: one write port, one registered read port, in block RAM or LUT-RAM.

Written as Verilog text because Amaranth's Memory emits one initial statement for every word, a
million of them for a large store; the buckets, where the contents matter, are Amaranth memories.
"""

from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.model.engine.parameters import ceil_log2


class Ram(wiring.Component):
    """`depth` words of `width` bits, with one write port and one read port.

    One write and one read a cycle; reading a word while it is written gives the old one.  The last
    words start as `tail` (integers), which no write should reach; the others start as 0.

    Parameters: `width`, `depth`, `granularity` (bits per write enable; it must divide `width`),
    `storage` ("block" or "distributed", both with a registered output), `tail`.

    Members:

    * `w_address`, `In(address_bits)`: word to be written.
    * `w_data`, `In(width)`: what is written.
    * `w_enable`, `In(width // granularity)`: the parts of the word that are written.
    * `r_address`, `In(address_bits)`: word to be read.
    * `r_data`, `Out(width)`: the word of the last cycle's `r_address`.
    """

    def __init__(self, *, width, depth, granularity=None, storage="block", tail=()):
        if storage not in ("block", "distributed"):
            raise ValueError(f"storage must be 'block' or 'distributed', not {storage!r}")
        self.width = width
        self.depth = depth
        self.granularity = granularity or width
        self.storage = storage
        self.tail = tuple(tail)
        if width % self.granularity:
            raise ValueError(f"granularity must divide {width}, not {granularity!r}")
        self.address_bits = max(1, ceil_log2(depth))
        super().__init__(
            {
                "w_address": In(self.address_bits),
                "w_data": In(width),
                "w_enable": In(width // self.granularity),
                "r_address": In(self.address_bits),
                "r_data": Out(width),
            }
        )

    def verilog(self, name):
        """The module's text; `emit.place` calls it."""
        enables = self.width // self.granularity
        writes = "\n".join(
            f"    if (w_enable[{i}]) mem[w_address][{i * g + g - 1}:{i * g}]"
            f" <= w_data[{i * g + g - 1}:{i * g}];"
            for i, g in ((i, self.granularity) for i in range(enables))
        )
        first = self.depth - len(self.tail)
        tail = "".join(
            f"    mem[{first + i}] = {self.width}'h{word:x};\n" for i, word in enumerate(self.tail)
        )
        initial = f"""  integer n;
  initial begin
`ifndef SYNTHESIS  // FPGAs start with zeros; spelled out it takes synthesis minutes
    for (n = 0; n < {first}; n = n + 1) mem[n] = 0;
`endif
{tail}  end
"""
        return f"""module {name}(clk, w_address, w_data, w_enable, r_address, r_data);
  input clk;
  input [{self.address_bits - 1}:0] w_address;
  input [{self.width - 1}:0] w_data;
  input [{enables - 1}:0] w_enable;
  input [{self.address_bits - 1}:0] r_address;
  output reg [{self.width - 1}:0] r_data;
  (* ram_style = "{self.storage}" *)
  reg [{self.width - 1}:0] mem [0:{self.depth - 1}];
{initial}  always @(posedge clk) begin
{writes}
    r_data <= mem[r_address];
  end
endmodule
"""
