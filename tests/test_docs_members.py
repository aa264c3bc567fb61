"""The docstring of every component lists its members as they are: name, direction, shape, rule."""

import importlib
import pkgutil
import re
from collections import ChainMap

import pytest
from amaranth.hdl import Shape
from amaranth.lib import data, wiring
from amaranth.lib.wiring import In, Out

from dpnet import gateware
from dpnet.gateware.arithmetic import align, fp32, multiply_add, normalize, requantize
from dpnet.gateware.array import Array, PlaceLayout, ResultLayout, stage
from dpnet.gateware.array.adder_tree import AdderTree
from dpnet.gateware.array.column import Column
from dpnet.gateware.array.lane import Lane, TopBits
from dpnet.gateware.array.segment import Segment
from dpnet.gateware.array.stage import BeatLayout, Stage
from dpnet.gateware.baselines import dense, dense_mac, dense_pair, dense_results, interleaved, paper
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.core.copier import Copier
from dpnet.gateware.core.exponents import BeatExponents
from dpnet.gateware.core.feeder import Feeder, Scanner
from dpnet.gateware.core.layer_times import LayerTimes
from dpnet.gateware.core.post import Post
from dpnet.gateware.core.scan_rows import ScanRows
from dpnet.gateware.core.tile_counters import OpenTiles, Pace, Releases
from dpnet.gateware.doors import axi, axi3, uart
from dpnet.gateware.maps import (
    cluster,
    clusters,
    finish,
    index_stores,
    rounding,
    row_store,
    stage_path,
    unit,
)
from dpnet.gateware.maps.control import (
    commands,
    drains,
    item_store,
    layouts,
    reader,
    reads,
    results,
    row_offset,
    walk,
    walker,
    writer,
)
from dpnet.gateware.maps.core import MapCore
from dpnet.gateware.parts.bus import BusSignature, CoreSignature
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.gateware.parts.ram import Ram
from dpnet.model.engine.baseline import BaselineParameters
from dpnet.model.engine.dense import DenseParameters
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters, ceil_log2
from dpnet.model.golden.align import Align
from dpnet.model.golden.normalize import Normalize
from dpnet.model.golden.requantize import Requantize

ROOMS = ("arithmetic", "array", "baselines", "core", "doors", "maps", "maps.control", "parts")

# All options on, and sizes of which no two are equal, so that no shape is right by chance.
ENGINE = EngineParameters(
    stages=3, columns=12, segments=5, bank=7, row_beats=2, slots=60, layers=9, lockstep=True
)
MAPS = MapEngineParameters(
    clusters=5, stages=7, streams=3, index_depth=300, row_groups=40, max_columns=99
)
DENSE = DenseParameters()
UART = {"clock_hz": 100_000_000, "baud": 3_000_000}

CASES = [
    (ResultLayout, (ENGINE,), {}),
    (PlaceLayout, (ENGINE,), {}),
    (BeatLayout, (ENGINE,), {}),
    *((kind, (), {"engine": ENGINE}) for kind in (Array, ArrayCore, BeatExponents, Column, Copier)),
    *((kind, (), {"engine": ENGINE}) for kind in (Feeder, Post, Stage)),
    *((kind, (), {"engine": ENGINE}) for kind in (LayerTimes, OpenTiles, ScanRows)),
    *((kind, (), {}) for kind in (Pace, Releases)),
    (Segment, (), {"engine": ENGINE, "first": False}),
    (Lane, (), {"buckets": 16, "activation_bits": 8, "bits": 19}),
    (TopBits, (), {"width": 3, "depth": 16}),
    (AdderTree, (), {"inputs": 5, "bits": 9}),
    (Scanner, (), {"exponents": 6}),
    (align.AlignUnit, (), {"params": Align(bits=21)}),
    (fp32.Fp32AddUnit, (), {}),
    (fp32.Fp32MultiplyUnit, (), {}),
    (multiply_add.MultiplyAdd, (), {}),
    (normalize.NormalizeUnit, (), {"params": Normalize(width=50)}),
    (requantize.RequantizeUnit, (), {"params": Requantize()}),
    (Ram, (), {"width": 24, "depth": 100, "granularity": 8}),
    (CheckedRam, (), {"width": 24, "depth": 100, "granularity": 8}),
    (BusSignature, (), {}),
    (CoreSignature, (), {}),
    (axi.AxiLiteDoor, (), {}),
    (axi3.Burst, (), {}),
    (axi3.Axi3Door, (), {}),
    *((kind, (), UART) for kind in (uart.UartReceiver, uart.UartTransmitter, uart.UartDoor)),
    *((kind, (), {"params": DENSE}) for kind in (dense.DenseSequencer, dense.DenseCore)),
    (dense_mac.DenseMac, (), {}),
    (dense_pair.DensePair, (), {"segments": 6, "acc_bits": 30, "depth": 100}),
    (dense_results.DenseResults, (), {"params": DENSE}),
    (
        dense_results.DenseRequantizer,
        (),
        {"requantize": Requantize(), "row_depth": 50, "result_depth": 100},
    ),
    *((getattr(interleaved, name), (), {}) for name in ("PairSum", "Accumulate")),
    (interleaved.InterleavedMultiplyAdd, (), {}),
    *((kind, (MAPS,), {}) for kind in (cluster.PhasesLayout, stage_path.PathLayout)),
    (stage_path.UnitLayout, (), {}),
    (clusters.StartLayout, (MAPS,), {}),
    (clusters.DrainLayout, (MAPS, 3), {}),
    (clusters.Clusters, (), {"params": MAPS, "tag_bits": 3}),
    (stage_path.StagePath, (), {"params": MAPS, "first": False}),
    *((kind, (), {"params": MAPS}) for kind in (cluster.Cluster, finish.Finish, unit.Unit)),
    *((kind, (), {"params": MAPS}) for kind in (index_stores.IndexStores, row_store.RowStore)),
    (MapCore, (), {"params": MAPS}),
    (commands.Commands, (), {"params": MAPS}),
    (drains.Drains, (), {"params": MAPS}),
    *((kind, (MAPS,), {}) for kind in (drains.DrainPassLayout, drains.SkipLayout)),
    *(
        (getattr(layouts, f"{name}Layout"), (MAPS,), {})
        for name in ("DrainItem", "Item", "Pass", "Position", "Read", "Target", "WriteItem")
    ),
    (layouts.SpotLayout, (), {}),
    (walk.WalkLayout, (MAPS,), {}),
    (rounding.Rounding, (), {}),
    (layouts.StartLayout, (MAPS,), {}),
    (item_store.ItemStore, (), {"params": MAPS}),
    (reader.PassReader, (), {"params": MAPS}),
    (reads.AccessLayout, (MAPS,), {}),
    (reads.StageReads, (), {"params": MAPS}),
    (results.ResultBanks, (), {"params": MAPS}),
    (row_offset.RowOffset, (), {"bits": 7}),
    (walker.Walker, (), {"params": MAPS}),
    (writer.BankWriteLayout, (7,), {}),
    (writer.Writer, (), {"params": MAPS}),
    (paper.BaselineCore, (), {"params": BaselineParameters(weights=64, columns=8, rows=8)}),
]

WITH_RULES_OF_THEIR_OWN = {
    "Strobe",  # `payload` and `valid`, of any shape
    "CommandLayout",  # those of BeatLayout but three
    "Sequencer",
    "Tally",  # counters, in one sentence
}

KINDS = (wiring.Component, wiring.Signature, data.StructLayout)

ITEM = re.compile(r"\* `(\w+)`, `([^`]+)`: (.+)")


def classes():
    """Components, signatures and layouts that the rooms define, by name."""
    for room in ROOMS:
        package = importlib.import_module(f"{gateware.__name__}.{room}")
        names = [
            package.__name__,
            *(m.name for m in pkgutil.iter_modules(package.__path__, f"{package.__name__}.")),
        ]
        for module in map(importlib.import_module, names):
            for kind in vars(module).values():
                own = isinstance(kind, type) and kind.__module__ == module.__name__
                if own and issubclass(kind, KINDS):
                    yield kind


def listed(kind):
    """(member, shape, rule) of each item behind the docstring's Members: or Fields: line."""
    text = re.split(r"^\s*(?:Members|Fields):$", kind.__doc__, maxsplit=1, flags=re.MULTILINE)
    assert len(text) == 2, f"{kind.__name__} lists no members"
    items = re.split(r"\n\s*(?=\* )", text[1])[1:]
    found = [ITEM.fullmatch(" ".join(item.split())) for item in items]
    assert all(found), f"{kind.__name__}: {[i for i, f in zip(items, found, strict=True) if not f]}"
    return [match.groups() for match in found]


WORDS = {"In": In, "Out": Out, "ceil_log2": ceil_log2, "row_address_bits": stage.row_address_bits}
"""What a docstring may use although its module does not."""


class Scope(dict):
    """Names as a docstring uses them: of the component, of its parameters, of its module."""

    def __init__(self, subject, kind):
        module = vars(importlib.import_module(kind.__module__))
        objects = [
            subject,
            *(getattr(subject, n, None) for n in ("engine", "params", "requantize")),
        ]
        if issubclass(kind, data.StructLayout):
            objects = [MAPS if ".maps." in kind.__module__ else ENGINE]
            module = {**module, "engine": ENGINE, "params": MAPS, "tag_bits": 3, "bits": 7}
        super().__init__(ChainMap(WORDS, module))
        self.objects = [thing for thing in objects if thing is not None]

    def __missing__(self, name):
        for thing in self.objects:
            for part in (thing, getattr(thing, "requantize", None)):
                if hasattr(part, name):
                    return getattr(part, name)
        raise KeyError(name)


def is_same(shape, written):
    if isinstance(shape, wiring.Member):
        if (shape.flow, tuple(shape.dimensions)) != (written.flow, tuple(written.dimensions)):
            return False
        if shape.is_signature or written.is_signature:
            return all(part.is_signature for part in (shape, written)) and same_members(
                shape.signature, written.signature
            )
        return is_same(shape.shape, written.shape) and shape.init == written.init
    if isinstance(shape, data.Layout) or isinstance(written, data.Layout):
        return shape == written
    return Shape.cast(shape) == Shape.cast(written)


def same_members(one, other):
    """Signatures of two instances are not equal if their class has no equality of its own."""
    ours, theirs = dict(one.members), dict(other.members)
    return ours.keys() == theirs.keys() and all(is_same(ours[n], theirs[n]) for n in ours)


def members_of(subject):
    if isinstance(subject, data.StructLayout):
        return dict(subject.members)
    signature = subject if isinstance(subject, wiring.Signature) else subject.signature
    return dict(signature.members)


@pytest.mark.parametrize(
    "kind, arguments, options", CASES, ids=lambda v: getattr(v, "__name__", "")
)
def test_a_docstring_lists_the_members_as_they_are(kind, arguments, options):
    subject = kind(*arguments, **options)
    subject._MustUse__silence = True
    members, found = members_of(subject), listed(kind)
    assert [name for name, _, _ in found] == list(members)
    scope = Scope(subject, kind)
    for name, written, rule in found:
        if "…" in written:  # fields with a rule each
            assert written.startswith(("In(", "Out("))
            layout = members[name].signature.members["payload"].shape
            assert set(layout.members) <= set(re.findall(r"`(\w+)`", rule)), name
            continue
        shape = eval(written, {"__builtins__": {"len": len, "max": max, "range": range}}, scope)
        assert is_same(members[name], shape), (
            f"{kind.__name__}.{name} is {members[name]!r}, not {written}"
        )


def test_all_components_are_looked_at():
    tested = {kind.__name__ for kind, _, _ in CASES}
    there = {kind.__name__ for kind in classes()}
    assert there - WITH_RULES_OF_THEIR_OWN == tested


def test_a_wrong_shape_a_wrong_direction_and_a_wrong_dimension_are_found():
    member = In(5).array(3)
    assert is_same(member, In(range(17)).array(3))
    assert not is_same(member, In(4).array(3))
    assert not is_same(member, Out(5).array(3))
    assert not is_same(member, In(5).array(2))
    assert not is_same(In(data.StructLayout({"a": 1})), In(data.StructLayout({"b": 1})))
