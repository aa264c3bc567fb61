"""The checked store: bench with upsets in its memory; constructor."""

import random

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.parts.checked_ram import CheckedRam
from dpnet.sim.benches.parts.checked_ram import CHECK, KINDS, NAMES
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle
from dpnet.sim.kit.upsets import open_memories

_words = random.Random(7)
STORES = {
    "bytes": {"width": 32, "depth": 21, "granularity": 8, "storage": "block", "tail": []},
    "wide": {"width": 160, "depth": 9, "granularity": 32, "storage": "block", "tail": []},
    "many": {"width": 104, "depth": 6, "granularity": 8, "storage": "block", "tail": []},
    "shallow": {"width": 25, "depth": 2, "granularity": None, "storage": "distributed", "tail": []},
    "tail": {
        "width": 64,
        "depth": 13,
        "granularity": 32,
        "storage": "block",
        "tail": [_words.getrandbits(64) for _ in range(6)] + [0, 1, 3 << 31],
    },
    "single": {"width": 1, "depth": 5, "granularity": None, "storage": "distributed", "tail": [1]},
}


def test_checked_ram_bench():
    assert tuple(STORES) == NAMES
    assert CheckedRam.check == CHECK
    bundle = Bundle(**{name: CheckedRam(**sizes) for name, sizes in STORES.items()})
    values = {"stores": STORES, "cycles": rounds(700, 4)}
    verilog = open_memories(emit(bundle))
    assert run_bench(verilog, "parts.checked_ram", values=values) == len(NAMES) * (len(KINDS) + 2)


@pytest.mark.parametrize(
    "sizes, message",
    [
        ({"granularity": 12}, "granularity must divide 32, not 12"),
        ({"storage": "ultra"}, "storage must be 'block' or 'distributed', not 'ultra'"),
    ],
)
def test_checked_ram_refuses(sizes, message):
    with pytest.raises(ValueError) as caught:
        CheckedRam(**{**STORES["bytes"], **sizes})
    assert str(caught.value) == message


def test_only_stores_can_be_opened():
    with pytest.raises(ValueError) as caught:
        open_memories("module top(); endmodule\n")
    assert str(caught.value) == "the design has no store whose memory could be opened"
