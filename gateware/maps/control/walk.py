"""Where a walk over a window is, and where it is a position later."""

from amaranth.hdl import Cat, Const, Mux, Signal, signed
from amaranth.lib import data

from dpnet.gateware.maps.control.layouts import address_bits, bank_bits
from dpnet.gateware.maps.control.places import Place, choose, field_place, place_sum
from dpnet.model.engine.maps.limits import FAR, REACH_BITS

COUNT_BITS = 17
"""Of rows and columns, with a sign."""

PLACES = ("read", "skip", "write", "row")


class WalkLayout(data.StructLayout):
    """A position of a window, or of the gap behind one of its rows.

    Fields:

    * `columns`, `signed(COUNT_BITS)`: columns to its right; in the gap -1, -2, ….
    * `rows`, `signed(COUNT_BITS)`: rows below it; negative behind the window.
    * `left`, `REACH_BITS`: columns to its left, `FAR` for all from there on.
    * `above`, `REACH_BITS`: rows above it, likewise.
    * `x_phase`, `8`: which of its map's planes it is written to, across.
    * `y_phase`, `8`: likewise, down.
    * `read_word`, `address_bits(params)`: word of the place that taps count from.
    * `read_bank`, `bank_bits(params)`: its bank.
    * `skip_word`, `address_bits(params)`: word of the place of the skip value.
    * `skip_bank`, `bank_bits(params)`: its bank.
    * `write_word`, `address_bits(params)`: word of the place that it is written to.
    * `write_bank`, `bank_bits(params)`: its bank.
    * `row_word`, `address_bits(params)`: word of the place where its row was begun to be written.
    * `row_bank`, `bank_bits(params)`: its bank.
    """

    def __init__(self, params):
        place = {"word": address_bits(params), "bank": bank_bits(params)}
        super().__init__(
            {
                "columns": signed(COUNT_BITS),
                "rows": signed(COUNT_BITS),
                "left": REACH_BITS,
                "above": REACH_BITS,
                "x_phase": 8,
                "y_phase": 8,
                **{f"{name}_{part}": bits for name in PLACES for part, bits in place.items()},
            }
        )


def place_of(walk, name):
    """A place of a position."""
    return Place(walk[f"{name}_word"], walk[f"{name}_bank"])


def inside(walk):
    """Whether it is a position of the window."""
    return ~walk.columns[-1] & ~walk.rows[-1]


def near(count):
    """A count that is not negative, `FAR` for all from there on."""
    return Mux(count[:-1] >= FAR, FAR, count[:REACH_BITS])


def begun(m, params, fields, words, name):
    """The first position of a pass with these descriptor `fields`; `words` of what it reads and of
    its skip value."""
    walk = Signal(WalkLayout(params), name=name)
    read, skip = words
    m.d.comb += [
        walk.columns.eq(fields["width"] - 1),
        walk.rows.eq(fields["height"] - 1),
        walk.x_phase.eq(fields["first_x_phase"]),
        walk.y_phase.eq(fields["first_y_phase"]),
        walk.read_word.eq(read),
        walk.skip_word.eq(skip),
        walk.write_word.eq(fields["write_word"]),
        walk.row_word.eq(fields["write_word"]),
        walk.read_bank.eq(fields["read_bank"]),
        walk.skip_bank.eq(fields["skip_bank"]),
        walk.write_bank.eq(fields["write_bank"]),
        walk.row_bank.eq(fields["write_bank"]),
    ]
    return walk


def following(m, params, fields, walk, name):
    """The next position: in the row and its gap a bank further, then the next row's first one."""
    after = Signal(WalkLayout(params), name=name)
    ends, goes_on = Signal(name=f"{name}_ends"), Signal(name=f"{name}_goes_on")
    m.d.comb += [
        ends.eq(walk.columns + fields.gap == 0),
        goes_on.eq(walk.columns > 0),
        after.columns.eq(Mux(ends, Cat(fields.width, Const(0, 1)).as_signed(), walk.columns) - 1),
        after.rows.eq(walk.rows - ends),
        after.left.eq(Mux(ends, 0, walk.left + (walk.left != FAR))),
        after.above.eq(walk.above + (ends & (walk.above != FAR))),
    ]
    bits = address_bits(params)
    for kind in ("read", "skip"):
        # A step by one place is one by a bank.
        by = choose(ends, field_place(fields, f"{kind}_row"), Place(0, 1))
        moved = place_sum(m, place_of(walk, kind), by, params.clusters, bits, f"{name}_{kind}")
        m.d.comb += [after[f"{kind}_word"].eq(moved.word), after[f"{kind}_bank"].eq(moved.bank)]
    _written(m, params, fields, walk, after, (ends, goes_on), name)
    return after


def _written(m, params, fields, walk, after, where, name):
    """In x a step from position to position, in y one from row to row; after a map's planes their
    wrap."""
    ends, goes_on = where
    steps = {}
    for axis, moves, first in (
        ("x", goes_on, Mux(ends, fields.first_x_phase, walk.x_phase)),
        ("y", ends, walk.y_phase),
    ):
        phase = walk[f"{axis}_phase"]
        wraps = Signal(name=f"{name}_{axis}_wraps")
        m.d.comb += [
            wraps.eq(phase + 1 == fields[f"{axis}_phases"]),
            after[f"{axis}_phase"].eq(Mux(moves, Mux(wraps, 0, phase + 1), first)),
        ]
        steps[axis] = choose(
            wraps,
            field_place(fields, f"write_{axis}_wrap"),
            field_place(fields, f"write_{axis}"),
        )
    moved = place_sum(
        m,
        choose(ends, place_of(walk, "row"), place_of(walk, "write")),
        choose(ends, steps["y"], steps["x"]),
        params.clusters,
        address_bits(params),
        f"{name}_write",
    )
    for kind, moves in (("write", ends | goes_on), ("row", ends)):
        kept = choose(moves, moved, place_of(walk, kind))
        m.d.comb += [after[f"{kind}_word"].eq(kept.word), after[f"{kind}_bank"].eq(kept.bank)]
