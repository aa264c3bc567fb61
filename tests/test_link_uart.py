"""The UART door: bench against the UART model; constructor."""

import pytest

from dpnet.gateware.doors.uart import UartDoor, phase_step
from dpnet.gateware.emit import emit
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES

TESTS = 3 * len(PAUSES) + len(PAUSES) + 4


# 33.3 and 8.68 cycles a bit: the fastest rate of common adapters, and nearly the fastest allowed.
@pytest.mark.parametrize("baud", [3_000_000, 11_520_000])
def test_uart_bench(baud):
    door = UartDoor(clock_hz=100_000_000, baud=baud)
    assert run_bench(emit(door), "doors.uart", values={"baud": baud}) == TESTS


def test_uart_rate_is_exact_enough():
    step = phase_step(100_000_000, 3_000_000)
    assert abs(step / 2**24 * 100_000_000 / 3_000_000 - 1) < 1e-5


@pytest.mark.parametrize(
    "clock_hz, baud, message",
    [
        (100_000_000, 0, "baud must be a positive integer, not 0"),
        (1e8, 115_200, "clock_hz must be a positive integer, not 100000000.0"),
        (16_000_000, 2_000_001, "baud must be at most clock_hz / 8 = 2000000, not 2000001"),
    ],
)
def test_uart_refuses(clock_hz, baud, message):
    with pytest.raises(ValueError) as caught:
        UartDoor(clock_hz=clock_hz, baud=baud)
    assert str(caught.value) == message
