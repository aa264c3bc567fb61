"""Which stages' copies of the banks of maps and pictures a request of the link is for."""

from dataclasses import dataclass

from amaranth.hdl import Signal, Value

from dpnet.model.engine.parameters import ceil_log2
from dpnet.model.engine.stores import BANK_BYTES


@dataclass
class Copies:
    """A request for banks of which each stage has a copy: the `row` in them; by stage whether it is
    `read` there, if the request reads, and whether a word is to be written."""

    row: Value
    read: Signal
    write: Signal


def copies_of(m, params, bus, region, depth):
    """The copies of `region`, in which banks have `depth` bytes, as
    `dpnet.model.engine.stores.copy_words` says: copy 0 is all stages', of which stage 0's is read;
    copy 1 + g is that of stage g."""
    rows = depth // BANK_BYTES
    bits = ceil_log2(rows)
    store = bus.store(region, low=params.cluster_bits, depth=(params.stages << bits) + rows)
    row, copy = store.row[:bits], store.row[bits : bits + ceil_log2(params.stages + 1)]
    read, write = (
        Signal(params.stages, name=f"{name}_{region.name.lower()}") for name in ("read", "write")
    )
    for g in range(params.stages):
        own = copy == g + 1
        common = own | (copy == 0)
        m.d.comb += [
            read[g].eq(store.inside & (row < rows) & (common if g == 0 else own)),
            write[g].eq(store.write & (row < rows) & common),
        ]
    return Copies(row, read, write)
