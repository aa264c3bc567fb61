"""The frame receiver: bench with good frames, nearly good ones and noise."""

from gateware.emit import emit
from gateware.link.receiver import FrameReceiver
from sim.bench import run_bench
from sim.streams import PAUSES


def test_receiver_bench():
    assert run_bench(emit(FrameReceiver()), "receiver") == len(PAUSES) + 1
