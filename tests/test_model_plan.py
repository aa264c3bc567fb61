"""The planner: what it proposes fits, is the fastest, and takes exactly the cycles it says."""

from dataclasses import replace
from itertools import product

import numpy as np
import pytest

from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.gateware.registers import MAX_VECTORS
from dpnet.host.placement import place_layers
from dpnet.model.engine.devices import BOARDS, KINDS, LIMITS, XC7Z045, Device
from dpnet.model.engine.estimate import estimate
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.plan import ACTIVATIONS, Layer, index_blocks, plan
from dpnet.model.image import Image, ImageLayer
from dpnet.sim.board.bare_core import BareCore, build_core
from dpnet.sim.measure.arrays import Single

SMALL_CHIP = Device("small", {"lut": 7_000, "lutram": 2_000, "ff": 20_000, "dsp": 40, "bram36": 60})


def test_proposals_fit_and_come_fastest_first():
    found = plan([Layer(96, 200, 16)], XC7Z045, activation="fp32", count=5)
    assert len(found) == 5
    assert [one.cycles for one in found] == sorted(one.cycles for one in found)
    shapes = {(x.engine.stages, x.engine.columns, x.engine.segments) for x in found}
    assert len(shapes) == 5
    for one in found:
        assert one.resources == estimate(one.engine)
        for kind in KINDS:
            assert getattr(one.resources, kind) <= XC7Z045.sizes[kind] * LIMITS[kind]
        assert one.latency == 1 + one.engine.layer_cycles(96, 200, 16, fp32_in=True, fp32_out=True)
        assert one.work + one.drain + one.wait == one.latency == one.cycles


@pytest.mark.parametrize("repeated", [False, True])
def test_no_engine_that_fits_is_faster(repeated):
    """Against every shape of a small chip, with the stores of the proposal."""
    layer = Layer(12, 20, 16)
    [best] = plan([layer], SMALL_CHIP, activation="int8", repeated=repeated, count=1)
    fastest = best.cycles
    for stages, columns, segments in product(range(1, 5), range(1, 13), range(1, 9)):
        engine = replace(
            best.engine,
            stages=stages,
            columns=columns,
            segments=segments,
            dsp_columns=0,
            index_depth=12 * 20,
            slots=16,
            result_slots=16,
            vector_words=256,
        )
        if all(
            getattr(estimate(engine), kind) <= SMALL_CHIP.sizes[kind] * LIMITS[kind]
            for kind in KINDS
        ):
            one = engine.layer_cycles(12, 20, 16, fp32_in=False, fp32_out=False) + 1
            next_one = engine.interval_cycles(12, 20, 16, fp32_in=False)
            assert fastest <= (next_one if repeated else one), (stages, columns, segments)


@pytest.mark.whole
@pytest.mark.parametrize("activation, repeated", [("fp32", False), ("int8", True)])
def test_cycles_are_those_that_the_gateware_takes(activation, repeated):
    rng = np.random.default_rng(5)
    [made] = plan(
        [Layer(11, 30, 16)], SMALL_CHIP, activation=activation, repeated=repeated, count=1
    )
    vectors = 3 if repeated else 1
    layer = Single(made.engine, rng, rows=11, columns=30)
    inputs = [layer.vector(layer.layers[0]) for _ in range(vectors)]
    program, _ = build_core(emit(ArrayCore(engine=made.engine)))
    with BareCore(program) as core:
        layer.load(core, inputs)
        one, all_of_them = core.run(0, 0), core.run(0, 0, vectors)
        assert layer.mismatches(core, inputs) == 0
    assert one.cycles == made.latency
    assert all_of_them.cycles == made.latency + (vectors - 1) * made.cycles * repeated


def test_layers_of_integers_feed_each_other_and_matrices_do_not():
    layers = [Layer(30, 64, 16), Layer(10, 30, 4)]
    for activation, fp32 in (("int8", False), ("fp32", True)):
        [made] = plan(layers, XC7Z045, activation=activation, count=1)
        engine = made.engine
        kinds = {"fp32_in": fp32, "fp32_out": fp32}
        first = engine.layer_cycles(30, 64, 16, **kinds, forward=not fp32)
        second = engine.layer_cycles(10, 30, 4, **kinds)
        assert made.cycles == first + second + (2 if fp32 else 1)
        assert engine.index_depth >= sum(
            engine.tiles(x.rows) * engine.beats(x.columns) for x in layers
        )
        assert engine.slots >= sum(engine.tiles(x.rows) * engine.stages for x in layers)


def runs_of(engine, layer):
    """Vectors of each run, from where the host places the layer and how many it sends at once."""
    indices = np.zeros((layer.rows, layer.columns), np.uint8)
    codebook = np.zeros((layer.rows, layer.k), np.float32)
    made = ImageLayer(name="x", shape=indices.shape, indices=indices, k=layer.k, codebook=codebook)
    d = place_layers(Image(layers=(made,)), engine)[0].descriptor
    vectors = (engine.vector_rows - d.in_row) // d.vector_rows
    slots = (engine.result_slots - d.result_slot) // (d.tiles * engine.stages)
    most = min(MAX_VECTORS, vectors, slots)
    return [most] * (layer.positions // most) + [layer.positions % most] * (
        layer.positions % most > 0
    )


@pytest.mark.parametrize("positions", [1, 7, 8, 9, 1024, 1023])
def test_positions_of_a_convolution_count(positions):
    """The first layer of a ResNet: 1,024 products, not one."""
    layers = [Layer(16, 27, 16, positions), Layer(16, 144, 16, positions), Layer(10, 64, 16)]
    for one in plan(layers, XC7Z045, activation="fp32", count=3):
        cycles = 0
        for layer in layers:
            for vectors in runs_of(one.engine, layer):
                cycles += 1 + one.engine.layer_cycles(
                    layer.rows, layer.columns, 16, fp32_in=True, fp32_out=True, vectors=vectors
                )
        assert one.cycles == one.latency == cycles
        work = [one.engine.tiles(x.rows) * one.engine.beats(x.columns) for x in layers]
        assert one.work == positions * (work[0] + work[1]) + work[2]
        assert one.wait > 0 and one.cycles > positions * 10
        assert max(runs_of(one.engine, layers[1])) >= min(8, positions)


def test_positions_of_one_layer_that_is_repeated():
    one, many = (
        plan([Layer(16, 144, 8, n)], XC7Z045, activation="int8", repeated=True, count=1)[0]
        for n in (1, 100)
    )
    assert many.cycles == 100 * one.cycles


def test_a_chain_has_no_positions():
    layers = [Layer(16, 27, 16, 4), Layer(10, 16, 16)]
    with pytest.raises(ValueError, match=r"^a chain of integer layers runs one vector: each must "):
        plan(layers, XC7Z045, activation="int8")


def test_what_binds():
    layer = [Layer(1000, 1024, 16)]
    assert plan(layer, XC7Z045, activation="fp32", count=1)[0].binds == "lut"
    plenty = Device("plenty", {kind: 10**7 for kind in KINDS})
    assert plan([Layer(8, 8, 2)], plenty, activation="int8", count=1)[0].binds == "latency"
    few_dsp = Device("few", {**XC7Z045.sizes, "dsp": 20})
    assert plan([Layer(96, 96, 16)], few_dsp, activation="fp32", count=1)[0].binds == "dsp"


def test_spare_dsp_slices_add_where_luts_run_short():
    [made] = plan([Layer(1000, 1024, 16)], XC7Z045, activation="fp32", count=1)
    assert made.engine.dsp_columns > 0
    without = estimate(replace(made.engine, dsp_columns=0))
    assert without.lut > XC7Z045.sizes["lut"] * LIMITS["lut"] >= made.resources.lut


def test_a_network_that_no_chip_holds():
    layer = Layer(2000, 4096, 16)
    assert index_blocks([layer]) == 1000
    assert plan([layer], XC7Z045, activation="fp32") == []
    tiny = Device("tiny", {**XC7Z045.sizes, "lut": 1000})
    assert plan([Layer(8, 8, 16)], tiny, activation="int8") == []


def test_widths_of_an_image_replace_the_usual_ones():
    [made] = plan(
        [Layer(8, 8, 4)],
        XC7Z045,
        activation="int8",
        count=1,
        widths={"activation_bits": 5, "entry_bits": 9},
    )
    assert (made.engine.activation_bits, made.engine.entry_bits) == (5, 9)
    assert made.engine.index_bits == 2
    assert isinstance(made.engine, EngineParameters)


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"activation": "int4"}, f"activation must be one of {', '.join(ACTIVATIONS)}, not 'int4'"),
        ({"layers": []}, "layers must have at least one layer"),
        (
            {"layers": [Layer(1, 1, 1)] * 2, "repeated": True},
            "only a single layer can be repeated, not 2",
        ),
    ],
)
def test_wrong_questions_are_refused(arguments, message):
    usual = {"layers": [Layer(8, 8, 4)], "device": BOARDS["zc706"], "activation": "fp32"}
    with pytest.raises(ValueError) as error:
        plan(**usual | arguments)
    assert str(error.value) == message


@pytest.mark.parametrize("name, high", [("rows", 65536), ("columns", 4096), ("k", 16)])
@pytest.mark.parametrize("value", [0, 1 << 17, 1.5])
def test_layers_of_other_sizes_are_refused(name, high, value):
    with pytest.raises(ValueError) as error:
        Layer(**{"rows": 1, "columns": 1, "k": 1, name: value})
    assert str(error.value) == f"{name} must be an integer from 1 to {high}, not {value!r}"


def test_devices_have_some_of_everything():
    with pytest.raises(ValueError) as error:
        Device("none", {**XC7Z045.sizes, "dsp": 0})
    assert str(error.value) == "dsp must be at least 1, not 0"
