"""The lane: bench against integer buckets modulo their width, both adders; constructor."""

import pytest

from gateware.emit import emit
from gateware.lane import Lane
from sim.bench import run_bench
from sim.benches.lane import KINDS, NAMES, PATTERNS
from sim.bundle import Bundle

LANES = {
    "wide": {"buckets": 16, "activation_bits": 25, "bits": 31},
    "narrow": {"buckets": 2, "activation_bits": 8, "bits": 8},
    "dsp": {"buckets": 16, "activation_bits": 25, "bits": 31, "adder": "dsp"},
    "narrow_dsp": {"buckets": 4, "activation_bits": 8, "bits": 12, "adder": "dsp"},
}


def test_lane_bench():
    assert tuple(LANES) == NAMES
    bundle = Bundle(**{name: Lane(**sizes) for name, sizes in LANES.items()})
    values = {"lanes": LANES, "weights": 1500}
    each = len(PATTERNS) * len(KINDS) + 2 + 1
    assert run_bench(emit(bundle), "lane", values=values) == len(NAMES) * each


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
