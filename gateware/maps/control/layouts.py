"""What the control half of a map engine hands on from one component to the next.

Places are words and banks; words are modulo 2^`address_bits`, of which every address of a bank is
one.
"""

from amaranth.lib import data

from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.maps.records import PASS
from dpnet.model.engine.parameters import ceil_log2

BOUND_BITS = 10
"""Of a tap's `top`, `bottom`, `left`, `right`."""

ADDS_BITS = 13
"""Additions of a tile, up to 4,096."""


def address_bits(params):
    """Bits of a byte's address in a bank of maps or pictures."""
    return ceil_log2(max(params.map_depth, params.picture_depth))


def bank_bits(params):
    """Bits that name a bank or a cluster, at least 1."""
    return params.cluster_bits or 1


def index_bits(params):
    """Bits of a word's address in a stream's index store."""
    return ceil_log2(params.stream_depth) or 1


def stage_bits(params):
    return ceil_log2(params.stages) or 1


def stream_bits(params):
    return ceil_log2(params.streams) or 1


def slot_bits(params):
    return ceil_log2(params.row_groups) or 1


class PassLayout(data.StructLayout):
    """A pass: the `fields` of its descriptor, all unsigned, and what follows from them:
    `index_words` of a row group, and `skip_start`, the word of row 0's skip value less that of the
    first channel that there is.
    """

    def __init__(self, params):
        super().__init__(
            {
                "fields": record_layout(PASS),
                "index_words": ADDS_BITS,
                "skip_start": address_bits(params),
            }
        )


class PositionLayout(data.StructLayout):
    """A position: y and x, 1,024 from there on, and words and banks of what is read, written and
    skipped from there; `used`: there is one."""

    def __init__(self, params):
        address, bank = address_bits(params), bank_bits(params)
        super().__init__(
            {
                "used": 1,
                "y": BOUND_BITS + 1,
                "x": BOUND_BITS + 1,
                "read_word": address,
                "read_bank": bank,
                "write_word": address,
                "write_bank": bank,
                "skip_word": address,
                "skip_bank": bank,
            }
        )


class SpotLayout(data.StructLayout):
    """Of a cluster's position what its stage must know: y, x and the word that it reads."""

    def __init__(self, params):
        super().__init__(
            {"y": BOUND_BITS + 1, "x": BOUND_BITS + 1, "word": address_bits(params)}
        )


class StartLayout(data.StructLayout):
    """What is to be known of an item when its stage starts.

    * `first`: the pass's first one; `last`: the tile's last one; `final`: the pass's last one.
    * `used`, `clusters` bits: these clusters have a position.
    * `bank`: what cluster 0 reads from.
    * `picture`, `unsigned`, `maximum`: as in the descriptor.
    * `stream`: of its indices; `needed`, a bit for each stream that the pass still reads.
    * `base`, a word of each stream: where the tile's indices begin, if this item is its first one.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "final": 1,
                "used": params.clusters,
                "bank": bank_bits(params),
                "picture": 1,
                "unsigned": 1,
                "maximum": 1,
                "stream": stream_bits(params),
                "needed": params.streams,
                "base": data.ArrayLayout(index_bits(params), params.streams),
            }
        )


class DrainItemLayout(data.StructLayout):
    """What is to be known of an item when its stage drains.

    * `first`, `last`: the pass's first one, the tile's last one.
    * `used`, `clusters` bits: these clusters have a position.
    * `bank`: what cluster 0's skip value comes from.
    * `slot`: codebook and row parameters.
    * `short`: it is of the last row group; `ends`: it is its row group's last one.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "used": params.clusters,
                "bank": bank_bits(params),
                "slot": slot_bits(params),
                "short": 1,
                "ends": 1,
            }
        )


class WriteItemLayout(data.StructLayout):
    """What is to be known of an item when its rows are written.

    * `first`, `last`, `final`: the pass's first one, the tile's last one, the pass's last one.
    * `used`, `clusters` bits: these clusters have a position.
    * `short`: it is of the last row group; `ends`: it is its row group's last one.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "final": 1,
                "used": params.clusters,
                "short": 1,
                "ends": 1,
            }
        )


class ItemLayout(data.StructLayout):
    """An item: what its stage must know when it starts, drains and writes."""

    def __init__(self, params):
        super().__init__(
            {
                "start": StartLayout(params),
                "drain": DrainItemLayout(params),
                "write": WriteItemLayout(params),
            }
        )


class TargetLayout(data.StructLayout):
    """Where a cluster's rows of an item begin: word and bank."""

    def __init__(self, params):
        super().__init__({"word": address_bits(params), "bank": bank_bits(params)})


class ReadLayout(data.StructLayout):
    """What a stage reads in a cycle, the same for all of its clusters.

    * `add`: it adds.
    * `word`, `bank`: from the place of a position to what it reads.
    * `top`, `bottom`, `left`, `right`: the positions for which that is inside of the map.
    """

    def __init__(self, params):
        super().__init__(
            {
                "add": 1,
                "word": address_bits(params),
                "bank": bank_bits(params),
                "top": BOUND_BITS,
                "bottom": BOUND_BITS,
                "left": BOUND_BITS,
                "right": BOUND_BITS,
            }
        )
