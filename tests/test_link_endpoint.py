"""The endpoint: bench against the engine model; constructor."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.registers import IDENTITY
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES

VALUES = {name: 0x01020304 * (position + 1) for position, name in enumerate(IDENTITY)}


def test_endpoint_bench():
    endpoint = Endpoint(identity=VALUES)
    assert (
        run_bench(emit(endpoint), "link.endpoint", values={"identity": VALUES}) == len(PAUSES) + 3
    )


def test_endpoint_refuses_an_identity_with_holes():
    with pytest.raises(ValueError) as caught:
        emit(Endpoint(identity={name: 0 for name in IDENTITY if name != "LAYERS"}))
    assert str(caught.value) == (
        "identity must have exactly the registers of IDENTITY, not ['LAYERS']"
    )


@pytest.mark.parametrize("value", [-1, 1 << 32, 1.0])
def test_endpoint_refuses_a_value(value):
    with pytest.raises(ValueError) as caught:
        emit(Endpoint(identity={**VALUES, "SLOTS": value}))
    assert str(caught.value) == f"identity['SLOTS'] must fit 32 unsigned bits, not {value!r}"
