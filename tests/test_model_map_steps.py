"""The map engine's steps on random networks: the integers of plain convolutions, the cycles of the
formula, and nothing read or written when it must not be.

DPNET_MAP_EXAMPLES sets the number of networks; with more than 100 the five large ones run whole,
else DS-CNN alone.
"""

import os

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from map_kit import NETWORKS, Builder, convolved

from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.maps.placement import place
from dpnet.model.engine.maps.plan import cycles
from dpnet.model.engine.maps.steps.banks import NEVER, Banks, ScheduleError
from dpnet.model.engine.maps.steps.machine import Machine
from dpnet.model.maps.layers import MapTensor, Window

EXAMPLES = int(os.environ.get("DPNET_MAP_EXAMPLES", "25"))
WHOLE = tuple(NETWORKS) if EXAMPLES > 100 else ("ds-cnn",)


def engine(**sizes):
    stores = {"map_depth": 1 << 14, "picture_depth": 1 << 12, "result_depth": 1 << 12}
    return MapEngineParameters(**{**stores, **sizes})


def check(params, network, pictures, half=0, apart=False):
    """Every tensor of every picture after the pass that ends it, the results, the cycles."""
    placed = place(params, network, apart)
    wanted = [convolved(network, picture) for picture in pictures]
    machine = Machine(params, placed.words)
    for stage, picture in enumerate(pictures):
        machine.write_picture(placed.picture_words(picture), half, stage)
    passes = placed.plan.passes
    lasts = {one.write: n for n, one in enumerate(passes)}

    def watch(number):
        key = passes[number].write
        if lasts[key] == number and key in placed.bases:
            for stage, tensors in enumerate(wanted):
                stored = placed.map(key, machine.read_maps(placed.map_words, stage))
                assert (stored == tensors[key[0]]).all(), (number, key, stage)

    taken = machine.run(len(passes), half, watch, len(pictures))
    results = machine.read_results(placed.result_words, half)
    for stage, tensors in enumerate(wanted):
        assert (placed.results(results, stage) == tensors[network.output]).all()
    assert placed.plan.cycles == cycles(params, network, apart)
    assert taken == placed.plan.cycles_of(len(pictures))
    check_sources(machine, placed.plan, len(pictures))


def check_sources(machine, made, pictures):
    """A pass reads what passes before it have written of its map, and all of its positions are
    written once."""
    passes, fewer = made.passes, made.fewer(pictures)
    for one, times in zip(passes, machine.times, strict=True):
        keys = {one.read, *([one.skip] if one.skip else [])}
        allowed = {n for n, other in enumerate(passes) if other.write in keys}
        if made.network.input.name in {key[0] for key in keys}:
            allowed.add(NEVER)
        assert times.sources <= allowed
        assert times.start == one.start and times.written == one.written - fewer
        values = one.work.count * one.work.window.height * one.work.window.width
        assert times.bytes_written in (0, pictures * values)


def divisors(n):
    return [d for d in range(1, n + 1) if n % d == 0]


@st.composite
def layers(draw, net, name):
    """One more layer on any tensor that has positions left."""
    source = draw(st.sampled_from(list(net.tensors)))
    channels, height, width = net.tensors[source].shape
    kernel = draw(st.integers(1, min(4, height))), draw(st.integers(1, min(4, width)))
    stride = draw(st.integers(1, 3)), draw(st.integers(1, 3))
    kind = draw(st.sampled_from(["conv", "conv", "depthwise", "grouped", "maximum", "average"]))
    if kind == "average":
        return net.average(name, source, kernel)
    padding = tuple(draw(st.integers(0, (kernel[n // 2] - 1))) for n in range(4))
    if kind == "maximum":
        # No window may lie in the padding alone.
        padding = tuple(min(padding[n], (kernel[n // 2] - 1)) for n in range(4))
        return net.maximum(name, source, kernel, stride=stride, padding=padding)
    groups = 1
    rows = draw(st.integers(1, 20))
    if kind != "conv":
        groups = channels if kind == "depthwise" else draw(st.sampled_from(divisors(channels)))
        rows = groups * draw(st.integers(1, 3))
    options = {"signed": draw(st.booleans()), "k": draw(st.integers(1, 16)), "groups": groups}
    return net.conv(name, source, rows, kernel, stride=stride, padding=padding, **options)


@st.composite
def networks(draw):
    shape = draw(st.integers(1, 5)), draw(st.integers(1, 9)), draw(st.integers(1, 9))
    net = Builder(shape, seed=draw(st.integers(0, 1 << 16)))
    net.tensors["picture"] = MapTensor("picture", shape, 1.0, draw(st.booleans()))
    for n in range(draw(st.integers(1, 4))):
        last = draw(layers(net, f"layer_{n}"))
        shapes = [t.name for t in net.tensors.values() if t.shape == net.tensors[last].shape]
        if draw(st.booleans()):
            other = draw(st.sampled_from(shapes))
            last = net.conv(
                f"sum_{n}", last, net.tensors[last].shape[0], (1, 1), skip={"tensor": other}
            )
    return net.made(last)


@settings(max_examples=EXAMPLES, deadline=None)
@given(
    networks(),
    st.builds(
        engine,
        clusters=st.integers(1, 4),
        stages=st.integers(1, 5),
        streams=st.integers(1, 2),
        index_depth=st.just(1 << 14),
    ),
    st.integers(0, 1 << 16),
)
def test_random_networks(network, params, seed):
    """A picture; then pictures in flight, as many as there are stages or fewer."""
    tensor, rng = network.input, np.random.default_rng(seed)
    size = (params.stages, *tensor.shape)
    pictures = rng.integers(tensor.low, tensor.high + 1, size)
    check(params, network, pictures[:1], half=seed % 2)
    count = rng.integers(1, params.stages + 1)
    for some in (pictures, pictures[:count]):
        check(params, network, some, half=seed % 2, apart=True)


def picture_of(network, extreme=None):
    tensor = network.input
    if extreme is not None:
        return np.full(tensor.shape, extreme)
    return np.random.default_rng(1).integers(tensor.low, tensor.high + 1, tensor.shape)


@pytest.mark.parametrize("name", WHOLE)
def test_a_whole_network(name):
    network = NETWORKS[name]()
    check(MapEngineParameters(), network, [picture_of(network)])


def test_strides_of_both_kinds_windows_and_channels_of_several_layers():
    net = Builder((3, 8, 6), seed=3)
    x = net.conv("x", "picture", 18, (3, 3))
    a = net.conv("a", x, 7, (3, 3), stride=(2, 2), padding=(1, 1, 1, 1), shape=(12, 4, 3))
    net.conv("b", x, 5, (2, 2), stride=(2, 2), padding=(0, 0, 0, 0), output="a", output_channel=7)
    y = net.conv("y", x, 6, (3, 3), skip={"tensor": "picture", "channel": 2})
    for name, box in (("top", (0, 3, 0, 6)), ("low", (3, 8, 0, 5)), ("edge", (3, 8, 5, 6))):
        net.conv(name, y, 4, (3, 3), shape=(4, 8, 6), output="z", window=Window(*box))
    z = net.conv("last", "z", 12, (4, 4), stride=(2, 2), padding=(1, 1, 1, 1), skip={"tensor": a})
    network = net.made(z)
    for params in (engine(stages=3), engine(clusters=3, stages=2), engine(clusters=5, streams=4)):
        check(params, network, [picture_of(network)])
        check(params, network, [picture_of(network, one) for one in (-128, 127)], apart=True)


def test_extreme_values_of_a_signed_and_an_unsigned_picture():
    for signed, extreme in ((True, -128), (True, 127), (False, 0), (False, 255)):
        net = Builder((4, 5, 5), seed=4)
        net.tensors["picture"] = MapTensor("picture", (4, 5, 5), 1.0, signed)
        x = net.conv("x", "picture", 17, (3, 3), skip={"tensor": "picture", "channel": 9})
        network = net.made(net.maximum("m", x, (2, 2), stride=(1, 1)))
        for apart in (False, True):
            check(engine(stages=2), network, [picture_of(network, extreme)], apart=apart)


def test_a_bank_is_read_once_a_cycle():
    banks = Banks(2, 8)
    one, used = np.zeros((1, 2), np.int64), np.ones((1, 2), bool)
    with pytest.raises(ScheduleError, match=r"bank 0 is read twice in a cycle"):
        banks.read(np.array([5]), one, one, used)
    with pytest.raises(ScheduleError, match=r"there is no word 8 in the banks"):
        banks.read(np.array([5]), np.array([[0, 1]]), one + 8, used)


def test_what_is_read_was_written():
    banks, used, bank = Banks(2, 8), np.ones(2, bool), np.array([0, 1])
    word = np.full((1, 2), 3)
    banks.write(7, bank, word, used, word, 0)
    with pytest.raises(ScheduleError, match=r"cycle 7 reads what cycle 7 writes"):
        banks.read(np.array([7]), bank[None], word, used[None])
    assert (banks.read(np.array([8]), bank[None], word, used[None]) == 3).all()
    with pytest.raises(ScheduleError, match=r"cycle 7 writes, but results come until 7"):
        banks.write(7, bank, word, used, word, 0)
    with pytest.raises(ScheduleError, match=r"pass 0 writes a byte twice"):
        banks.write(9, bank, word, used, word, 0)


def test_a_wait_that_is_too_short_is_found():
    """One cycle less, of any pass that waits, and a value is read too early, or two passes meet."""
    net = Builder((3, 6, 6), seed=5)
    x = net.conv("a", "picture", 16, (3, 3))
    x = net.conv("b", x, 40, (1, 1))
    network = net.made(net.conv("c", x, 9, (6, 6), padding=(0, 0, 0, 0)))
    params = engine(stages=4)
    placed = place(params, network)
    shortened(params, placed)


def test_a_wait_that_is_too_short_in_flight():
    net = Builder((3, 2, 2), seed=5)
    x = net.conv("a", "picture", 16, (1, 1))
    network = net.made(net.conv("b", x, 9, (1, 1)))
    params = engine(clusters=4, stages=3)
    shortened(params, place(params, network, True))


def shortened(params, placed):
    waiting = [n for n, one in enumerate(placed.plan.passes) if one.wait]
    assert waiting
    for number in waiting:
        machine = Machine(params, placed.words)
        read = machine.stores.descriptor
        machine.stores.descriptor = lambda n, read=read, number=number: {
            **read(n),
            "wait": read(n)["wait"] - (n == number),
        }
        with pytest.raises(ScheduleError):
            machine.run(len(placed.plan.passes))
