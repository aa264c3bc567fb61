"""The tops: whole engines through their front doors; what the constructor refuses."""

import pytest

from dpnet.gateware.emit import emit
from dpnet.gateware.top import Top
from dpnet.model.engine.parameters import EngineParameters
from dpnet.sim.benches.doors.top_uart import ERRORS
from dpnet.sim.kit.bench import run_bench

ENGINE = {
    "stages": 2,
    "columns": 3,
    "segments": 2,
    "max_columns": 14,
    "index_depth": 40,
    "slots": 12,
    "vector_words": 160,
    "layers": 3,
}
CLOCK_HZ, BAUD = 100_000_000, 12_500_000


@pytest.mark.whole
def test_uart_top():
    top = Top(params=EngineParameters(**ENGINE), door="uart", clock_hz=CLOCK_HZ, baud=BAUD)
    values = {"engine": ENGINE, "baud": BAUD}
    assert run_bench(emit(top), "doors.top_uart", values=values) == len(ERRORS)


@pytest.mark.whole
def test_axi_top():
    top = Top(params=EngineParameters(**ENGINE), door="axi")
    assert run_bench(emit(top), "doors.top_axi", values={"engine": ENGINE}) == 3


@pytest.mark.filterwarnings("ignore:.*created but never used")
def test_top_refuses():
    with pytest.raises(TypeError) as caught:
        Top(params=ENGINE)
    assert str(caught.value) == (
        "params must be EngineParameters, BaselineParameters or MapEngineParameters, not "
        f"{ENGINE!r}"
    )
    with pytest.raises(ValueError) as caught:
        Top(params=EngineParameters(), door="usb")
    assert str(caught.value) == "door must be one of bytes, uart, axi, not 'usb'"
    for clock_hz in (0, 1 << 32, 1e8):
        with pytest.raises(ValueError) as caught:
            Top(params=EngineParameters(), clock_hz=clock_hz)
        assert str(caught.value) == (
            f"clock_hz must be an integer from 1 to 2^32 - 1, not {clock_hz!r}"
        )
