"""Random passes as descriptors, and the layouts of the map engine's control in a bench."""

from __future__ import annotations

import random
from typing import Any

from amaranth.hdl import Shape
from amaranth.lib import data

from dpnet.gateware.maps.control.layouts import address_bits
from dpnet.model.engine.maps.dispatch import Dispatch
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.records import PASS
from dpnet.model.engine.parameters import ceil_div

Fields = dict[str, int]

SIZES: dict[str, dict[str, int]] = {
    "narrow": {"clusters": 2, "stages": 3, "streams": 1},
    "least": {"clusters": 1, "stages": 1, "streams": 1},
    "wide": {"clusters": 5, "stages": 4, "streams": 3},
    "broad": {"clusters": 17, "stages": 1, "streams": 1},
    "steps": {"clusters": 18, "stages": 2, "streams": 2},
}
STORES: dict[str, Any] = {
    "index_depth": 96,
    "row_groups": 32,
    "taps": 24,
    "passes": 5,
    "map_depth": 256,
    "picture_depth": 128,
    "result_depth": 64,
}


def params_of(sizes: dict[str, int]) -> MapEngineParameters:
    """An engine with small stores."""
    return MapEngineParameters(**{**STORES, **sizes})


def vector(layout: Any, values: Any) -> int:
    """A port's value from those of its fields (names, or numbers of an array, to integers or the
    like again); fields that are not named are 0."""
    if isinstance(values, int):
        return values & (1 << _size(layout)) - 1
    found = 0
    for name, value in values.items():
        field = layout[name]
        found |= vector(field.shape, value) << field.offset
    return found


def fields_of(layout: data.Layout, value: int) -> dict[Any, Any]:
    """The other way round: unsigned integers, or the same again, by name or number."""
    found = {}
    for name, field in layout:
        part = value >> field.offset & (1 << field.width) - 1
        inner = isinstance(field.shape, data.Layout)
        found[name] = fields_of(field.shape, part) if inner else part
    return found


def _size(shape: Any) -> int:
    size: int = shape.size if isinstance(shape, data.Layout) else Shape.cast(shape).width
    return size


class PassMaker:
    """Descriptors that mean something, though not what a planner would make."""

    def __init__(self, params: MapEngineParameters, source: random.Random) -> None:
        self.params, self.source = params, source

    def made(self, *, adds: int = 60) -> Fields:
        """Every field, words of places as unsigned numbers; up to `adds` additions."""
        source, params = self.source, self.params
        fields = {name: 0 for name in PASS.places}
        self._positions(fields)
        self._reads(fields, adds)
        for name in PASS.places:
            if name.endswith("_bank"):
                fields[name] = source.randrange(params.clusters)
            elif name.endswith("_word"):
                fields[name] = source.getrandbits(18)
        for axis in ("x", "y"):
            phases = source.choice([1, 1, 2, 3])
            fields[f"{axis}_phases"] = phases
            fields[f"first_{axis}_phase"] = source.randrange(phases)
        fields["rows"] = source.choice([LANES, source.randint(1, LANES)])
        fields["last_rows"] = source.randint(1, fields["rows"])
        self._values(fields)
        return fields

    def _positions(self, fields: Fields) -> None:
        source, params = self.source, self.params
        width, height = source.randint(1, 7), source.randint(1, 5)
        if source.random() < 0.05:
            width, height = source.choice([(300, 1), (1, 300)])
        group = source.randint(1, params.clusters)
        dispatch = Dispatch(width, height, group, source.choice([0, source.randrange(group)]))
        fields |= {
            "width": width,
            "height": height,
            "group_width": dispatch.group_width,
            "gap": dispatch.gap,
            "groups": dispatch.groups,
            "row_groups": source.randint(1, 5) if width * height < 100 else 1,
        }

    def _reads(self, fields: Fields, adds: int) -> None:
        source, params = self.source, self.params
        taps = source.randint(1, min(9, params.taps, adds))
        channels = source.randint(1, adds // taps)
        fields |= {
            "first_tap": source.randint(0, params.taps - taps),
            "taps": taps,
            "channels": channels,
            "channel_words": source.getrandbits(16),
            "block_words": source.choice([0, source.getrandbits(18)]),
            "apart": source.randrange(2),
            "shared": source.randrange(2),
            "index_mode": source.choice([0, 1, 3]),
            "first_stream": source.randrange(params.streams),
            "slot": source.randint(0, params.row_groups - fields["row_groups"]),
            "first_index": source.randrange(4),
            "unsigned": source.randrange(2),
            "picture": source.randrange(2),
        }
        if source.random() < 0.25:
            # A maximum has a word for each of its channels.
            fields |= {"maximum": 1, "shared": 1, "channels": min(channels, LANES)}

    def _values(self, fields: Fields) -> None:
        source = self.source
        first = source.choice([0, source.randint(1, 15), source.randint(-40, 40)])
        for name in ("to_map", "to_result", "skips", "skip_picture", "skip_unsigned"):
            fields[name] = source.randrange(2)
        fields |= {
            "low": source.getrandbits(9),
            "high": source.getrandbits(9),
            "skip_first": first & 0xFFFF,
            "skip_channels": source.randint(1, 60),
            "skip_words": source.getrandbits(16),
            "write_words": source.getrandbits(16),
            "result": source.getrandbits(18),
            "result_words": source.getrandbits(18),
            "result_pitch": source.getrandbits(14),
        }


def index_words(fields: Fields) -> int:
    """Words of indices of a row group."""
    return ceil_div(fields["taps"] * fields["channels"] * (fields["index_mode"] + 1), 4)


def skip_first(fields: Fields) -> int:
    """The row of the first skip value, signed."""
    return (fields["skip_first"] ^ 0x8000) - 0x8000


def pass_vector(layout: data.Layout, params: MapEngineParameters, fields: Fields) -> int:
    """A `PassLayout` of a descriptor."""
    start = max(0, -skip_first(fields)) * fields["skip_words"]
    values = {
        "fields": fields,
        "index_words": index_words(fields),
        "skip_start": start % (1 << address_bits(params)),
    }
    return vector(layout, values)
