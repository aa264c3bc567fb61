"""The endpoint: bench against the engine model; constructor."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.registers import CONSTANTS
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.requests import REGION_WORDS

VALUES = {name: 0x01020304 * (position + 1) for position, name in enumerate(CONSTANTS)}


def test_endpoint_bench():
    endpoint = Endpoint(identity=VALUES, words=REGION_WORDS)
    assert (
        run_bench(emit(endpoint), "link.endpoint", values={"identity": VALUES}) == len(PAUSES) + 3
    )


def test_limits_bench():
    endpoint = Endpoint(identity=VALUES, words=REGION_WORDS)
    assert run_bench(emit(endpoint), "link.limits", values={"identity": VALUES}) == 4


def test_halves_bench():
    halves = {5: 14, 6: 32}
    endpoint = Endpoint(identity=VALUES, words=REGION_WORDS, halves=halves)
    text, values = emit(endpoint), {"identity": VALUES, "halves": halves}
    assert run_bench(text, "link.halves", values=values) == len(PAUSES) + 1
    # Random conversations with such an engine.
    assert run_bench(text, "link.endpoint", values=values) == len(PAUSES) + 3


def test_endpoint_refuses_an_identity_with_holes():
    with pytest.raises(ValueError) as caught:
        emit(Endpoint(identity={name: 0 for name in CONSTANTS if name != "LAYERS"}, words={}))
    assert str(caught.value) == (
        "identity must have exactly the constant registers, not ['LAYERS']"
    )


@pytest.mark.parametrize("value", [-1, 1 << 32, 1.0])
def test_endpoint_refuses_a_value(value):
    with pytest.raises(ValueError) as caught:
        emit(Endpoint(identity={**VALUES, "SLOTS": value}, words={}))
    assert str(caught.value) == f"identity['SLOTS'] must fit 32 unsigned bits, not {value!r}"


@pytest.mark.parametrize(
    "words, message",
    [
        ({0: 5}, "words must be of regions 1 to 7, not 0"),
        ({8: 5}, "words must be of regions 1 to 7, not 8"),
        ({2: -1}, "words[2] must be 0 to 67108864, not -1"),
        ({2: (1 << 26) + 1}, "words[2] must be 0 to 67108864, not 67108865"),
    ],
)
def test_endpoint_refuses_words(words, message):
    with pytest.raises(ValueError) as caught:
        emit(Endpoint(identity=VALUES, words=words))
    assert str(caught.value) == message
