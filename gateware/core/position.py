"""Where a run is, what happens in a cycle, and what is known a cycle ahead: signals of the
sequencer, handed on to what describes its states."""

from dataclasses import dataclass

from amaranth.hdl import Signal


@dataclass(frozen=True, kw_only=True)
class Position:
    """Where a run is: the layer's `number`, the one after it and the `final` one; how many
    `vectors` of the layer are still to be launched, of which there were `further_vectors` + 1; what
    is left of a tile's beats, of a product's tiles and of the gap; `packed`, the beat among those
    of one row of the index store; `count`, cycles of a drain.

    `last_beat`, `drained`: this is the last one; `due`: the next tile is its product's first one,
    `first_tile`: this is; `owed`: a product was launched whose first drain is still to come;
    `fresh`: no product of the layer was launched yet; `abandoned`: a vector was refused.  `base`,
    `index_row`, `offset`: where the vector lies, the next indices, and the way from the product's
    slots to its results.
    """

    number: Signal
    following: Signal
    final: Signal
    further_vectors: Signal
    vectors: Signal
    left_beats: Signal
    packed: Signal
    left_tiles: Signal
    left_gap: Signal
    count: Signal
    last_beat: Signal
    drained: Signal
    due: Signal
    first_tile: Signal
    owed: Signal
    fresh: Signal
    abandoned: Signal
    base: Signal
    index_row: Signal
    offset: Signal

    @classmethod
    def registers(cls, engine, *, beat, index_row, slot):
        """All of them, of an engine with these shapes of places."""
        shapes = {
            **dict.fromkeys(("number", "following", "final", "further_vectors"), 8),
            "vectors": 9,
            "packed": 2,
            **dict.fromkeys(("left_beats", "left_tiles", "left_gap"), 16),
            "count": range(engine.flush_cycles + 1),
            "base": beat,
            "index_row": index_row,
            "offset": slot,
        }
        names = cls.__dataclass_fields__
        return cls(**{name: Signal(shapes.get(name, 1), name=name) for name in names})


@dataclass(frozen=True, kw_only=True)
class Strobes:
    """What happens in a cycle: a layer's first scan begins, a product is launched, a tile begins,
    nothing but a release is missing; what was begun is forgotten."""

    scan: Signal
    launch: Signal
    begin: Signal
    stall: Signal
    forget: Signal


@dataclass(frozen=True, kw_only=True)
class Ahead:
    """What the end of a tile depends on, a cycle before: whether the tile is its product's last
    one, and the product the layer's; where the next product has its vector, and its results.
    `wait`: the last product is too near; `scanned`: the next one's vector is scanned, which it must
    be if `fp32`; `free`: the next tile is in the stores."""

    last_tile: Signal
    last_round: Signal
    next_base: Signal
    next_offset: Signal
    wait: Signal
    scanned: Signal
    free: Signal
    fp32: Signal
