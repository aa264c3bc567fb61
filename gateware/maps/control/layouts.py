"""What the control half of a map engine hands on from one component to the next.

Places are words and banks; words are modulo 2^`address_bits`, of which every address of a bank is
one.
"""

from amaranth.lib import data

from dpnet.gateware.parts.records import record_layout
from dpnet.model.engine.maps.limits import REACH_BITS, SPREAD_BITS
from dpnet.model.engine.maps.parameters import LANES
from dpnet.model.engine.maps.records import PASS
from dpnet.model.engine.parameters import ceil_div, ceil_log2

SIDES = ("above", "below", "left", "right")
"""Edges of a window that a position may be far from."""

ADDS_BITS = 13
"""Additions of a tile, up to 4,096."""


def address_bits(params):
    """Bits of a byte's address in a bank of maps or pictures."""
    return ceil_log2(max(params.map_depth, params.picture_depth))


def bank_bits(params):
    """Bits that name a bank or a cluster, at least 1."""
    return params.cluster_bits or 1


def steps_of(params):
    """Positions that the walker gives in a cycle, so that an item takes no longer than `LANES`."""
    return ceil_div(params.clusters, LANES)


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
    """A pass.

    Fields:

    * `fields`, `record_layout(PASS)`: those of its descriptor, all unsigned.
    * `index_words`, `ADDS_BITS`: words of indices of a row group.
    * `skip_start`, `address_bits(params)`: where row 0's skip value would be, or the first channel
      if that is a later row's; counted from the place of the latter.
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
    """A position.

    Fields:

    * `used`, `1`: there is one.
    * `above`, `REACH_BITS`: rows of the window above it, `FAR` for all from there on.
    * `below`, `REACH_BITS`: rows below it, likewise.
    * `left`, `REACH_BITS`: columns to its left, likewise.
    * `right`, `REACH_BITS`: columns to its right, likewise.
    * `read`, `SPREAD_BITS`: words to the place that taps count from, from cluster 0's.
    * `skip`, `SPREAD_BITS`: words to the skip value of the first channel, from cluster 0's.
    * `write_word`, `address_bits(params)`: word of the place of row 0.
    * `write_bank`, `bank_bits(params)`: its bank.
    """

    def __init__(self, params):
        super().__init__(
            {
                "used": 1,
                **dict.fromkeys(SIDES, REACH_BITS),
                "read": SPREAD_BITS,
                "skip": SPREAD_BITS,
                "write_word": address_bits(params),
                "write_bank": bank_bits(params),
            }
        )


class SpotLayout(data.StructLayout):
    """Of a cluster's position what its stage must know.

    Fields:

    * `above`, `REACH_BITS`: as in `PositionLayout`.
    * `below`, `REACH_BITS`: as in `PositionLayout`.
    * `left`, `REACH_BITS`: as in `PositionLayout`.
    * `right`, `REACH_BITS`: as in `PositionLayout`.
    * `spread`, `SPREAD_BITS`: words from cluster 0's place to its own.
    """

    def __init__(self):
        super().__init__({**dict.fromkeys(SIDES, REACH_BITS), "spread": SPREAD_BITS})


class StartLayout(data.StructLayout):
    """What is to be known of an item when its stage starts.

    Fields:

    * `first`, `1`: it is its pass's first one.
    * `last`, `1`: it is its tile's last one.
    * `final`, `1`: it is its pass's last one.
    * `used`, `clusters`: the clusters that have a position.
    * `word`, `address_bits(params)`: word of cluster 0's place, from which taps count.
    * `bank`, `bank_bits(params)`: its bank; the other clusters have those behind it.
    * `picture`, `1`: as in the descriptor.
    * `unsigned`, `1`: as in the descriptor.
    * `maximum`, `1`: as in the descriptor.
    * `stream`, `stream_bits(params)`: the stream of its indices.
    * `needed`, `streams`: the streams that the pass still reads.
    * `base`, `data.ArrayLayout(index_bits(params), streams)`: word of each of these streams with
      which a tile begins whose first item this is.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "final": 1,
                "used": params.clusters,
                "word": address_bits(params),
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

    Fields:

    * `first`, `1`: it is its pass's first one.
    * `last`, `1`: it is its tile's last one.
    * `used`, `clusters`: the clusters that have a position.
    * `word`, `address_bits(params)`: word of cluster 0's skip value, of its first channel.
    * `bank`, `bank_bits(params)`: its bank; the other clusters have those behind it.
    * `slot`, `slot_bits(params)`: codebook and row parameters.
    * `short`, `1`: it is of the last row group, which may have fewer rows.
    * `ends`, `1`: it is its row group's last one.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "used": params.clusters,
                "word": address_bits(params),
                "bank": bank_bits(params),
                "slot": slot_bits(params),
                "short": 1,
                "ends": 1,
            }
        )


class WriteItemLayout(data.StructLayout):
    """What is to be known of an item when its rows are written.

    Fields:

    * `first`, `1`: it is its pass's first one.
    * `last`, `1`: it is its tile's last one.
    * `final`, `1`: it is its pass's last one.
    * `used`, `clusters`: the clusters that have a position.
    * `banks`, `clusters`: the banks that these are written to.
    * `short`, `1`: it is of the last row group, which may have fewer rows.
    * `ends`, `1`: it is its row group's last one.
    """

    def __init__(self, params):
        super().__init__(
            {
                "first": 1,
                "last": 1,
                "final": 1,
                "used": params.clusters,
                "banks": params.clusters,
                "short": 1,
                "ends": 1,
            }
        )


class ItemLayout(data.StructLayout):
    """An item: what is to be known of it, and when.

    Fields:

    * `start`, `StartLayout(params)`: when its stage starts.
    * `drain`, `DrainItemLayout(params)`: when its stage drains.
    * `write`, `WriteItemLayout(params)`: when its rows are written.
    """

    def __init__(self, params):
        super().__init__(
            {
                "start": StartLayout(params),
                "drain": DrainItemLayout(params),
                "write": WriteItemLayout(params),
            }
        )


class TargetLayout(data.StructLayout):
    """What a bank is given of an item's rows.

    Fields:

    * `word`, `address_bits(params)`: where row 0 of the pass would be.
    * `cluster`, `bank_bits(params)`: the cluster whose rows these are.
    """

    def __init__(self, params):
        super().__init__({"word": address_bits(params), "cluster": bank_bits(params)})


class ReadLayout(data.StructLayout):
    """What a stage reads in a cycle, the same for all of its clusters.

    Fields:

    * `add`, `1`: it adds.
    * `word`, `address_bits(params)`: words from the place of a position to what it reads.
    * `bank`, `bank_bits(params)`: banks likewise.
    * `above`, `REACH_BITS`: rows above a position for which that is inside of the map, at least.
    * `below`, `REACH_BITS`: rows below it.
    * `left`, `REACH_BITS`: columns to its left.
    * `right`, `REACH_BITS`: columns to its right.
    """

    def __init__(self, params):
        super().__init__(
            {
                "add": 1,
                "word": address_bits(params),
                "bank": bank_bits(params),
                **dict.fromkeys(SIDES, REACH_BITS),
            }
        )
