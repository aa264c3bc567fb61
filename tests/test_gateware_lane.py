"""The lane: bench against integer buckets; constructor."""

import pytest

from gateware.emit import emit
from gateware.lane import Lane
from sim.bench import run_bench
from sim.bundle import Bundle

LANES = {
    "wide": {"buckets": 16, "activation_bits": 25, "bucket_bits": 31},
    "narrow": {"buckets": 2, "activation_bits": 8, "bucket_bits": 12},
}


def test_lane_bench():
    bundle = Bundle(**{name: Lane(**sizes) for name, sizes in LANES.items()})
    values = {"lanes": LANES, "weights": 1500}
    assert run_bench(emit(bundle), "lane", values=values) == 18 + 4 + 2


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"buckets": 12}, "buckets must be a power of two of at least 2, not 12"),
        ({"buckets": 1}, "buckets must be a power of two of at least 2, not 1"),
        ({"bucket_bits": 24}, "bucket_bits must be at least 25, not 24"),
    ],
)
def test_lane_refuses(sizes, message):
    with pytest.raises(ValueError) as caught:
        Lane(**{**LANES["wide"], **sizes})
    assert str(caught.value) == message
