"""The lane: bench against integer buckets modulo their width, both adders; constructor."""

import pytest

from dpnet.gateware.array.lane import Lane, TopBits, top_bits
from dpnet.gateware.emit import emit
from dpnet.sim.benches.array.lane import KINDS, NAMES, PATTERNS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle

LANES = {
    "wide": {"buckets": 16, "activation_bits": 25, "bits": 31},
    "narrow": {"buckets": 2, "activation_bits": 8, "bits": 8},
    "one_above": {"buckets": 4, "activation_bits": 8, "bits": 9},
    "two_above": {"buckets": 16, "activation_bits": 25, "bits": 26},
    "dsp": {"buckets": 16, "activation_bits": 25, "bits": 31, "adder": "dsp"},
    "narrow_dsp": {"buckets": 4, "activation_bits": 8, "bits": 12, "adder": "dsp"},
    "three_above_dsp": {"buckets": 32, "activation_bits": 17, "bits": 19, "adder": "dsp"},
}


def test_lane_bench():
    assert tuple(LANES) == NAMES
    bundle = Bundle(**{name: Lane(**sizes) for name, sizes in LANES.items()})
    values = {"lanes": LANES, "weights": rounds(1500)}
    each = len(PATTERNS) * len(KINDS) + 2 + 1
    assert run_bench(emit(bundle), "array.lane", values=values) == len(NAMES) * each


@pytest.mark.parametrize(
    "buckets, bits, top",
    [
        (16, 34, 2),
        (16, 35, 3),
        (16, 36, 0),
        (16, 32, 0),
        (16, 39, 0),
        (32, 9, 1),
        (2, 8, 0),
        (16, 3, 0),
        (64, 34, 0),
    ],
)
def test_bits_above_a_multiple_of_8_have_a_memory_of_their_own(buckets, bits, top):
    assert top_bits(buckets, bits) == top
    verilog = emit(Lane(buckets=buckets, activation_bits=2, bits=bits))
    assert verilog.count(f"reg [{top - 1}:0] mem [0:{buckets - 1}];") == (top > 0)
    assert verilog.count(f"reg [{bits - top - 1}:0] mem [{buckets - 1}:0];") == 1
    assert verilog.count("RAM32X1S") == top


def test_top_bits_refuse_what_a_lut_cannot_hold():
    with pytest.raises(ValueError) as caught:
        TopBits(width=1, depth=64)
    assert str(caught.value) == "depth must be at most 32, not 64"


def test_a_dsp_lane_is_the_first_of_its_row():
    assert "chain" in Lane(**LANES["wide"]).signature.members
    assert "chain" not in Lane(**LANES["dsp"]).signature.members


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"buckets": 12}, "buckets must be a power of two of at least 2, not 12"),
        ({"buckets": 1}, "buckets must be a power of two of at least 2, not 1"),
        ({"bits": 24}, "bits must be at least 25, not 24"),
        ({"adder": "carry"}, "adder must be 'lut' or 'dsp', not 'carry'"),
    ],
)
def test_lane_refuses(sizes, message):
    with pytest.raises(ValueError) as caught:
        Lane(**{**LANES["wide"], **sizes})
    assert str(caught.value) == message
