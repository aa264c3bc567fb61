"""The frame receiver: bench with good frames, nearly good ones and noise."""

from dpnet.gateware.emit import emit
from dpnet.gateware.link.receiver import FrameReceiver
from dpnet.sim.kit.bench import run_bench
from dpnet.sim.kit.streams import PAUSES


def test_receiver_bench():
    assert run_bench(emit(FrameReceiver()), "link.receiver") == len(PAUSES) + 1
