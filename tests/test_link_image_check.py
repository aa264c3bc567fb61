"""The check of the valid image, and streamed tiles: bench on the endpoint with the bench's stores;
the CRC's gates against zlib."""

import zlib

import numpy as np
from amaranth.sim import Simulator

from dpnet.gateware.emit import emit
from dpnet.gateware.link.checker import StoreChecker
from dpnet.gateware.link.endpoint import Endpoint
from dpnet.gateware.registers import CONSTANTS
from dpnet.sim.kit.bench import run_bench, seed
from dpnet.sim.kit.streams import PAUSES
from dpnet.sim.peers.requests import REGION_WORDS

VALUES = {name: 0x01020304 * (position + 1) for position, name in enumerate(CONSTANTS)}


def test_image_check_bench():
    endpoint = Endpoint(identity=VALUES, words=REGION_WORDS)
    count = run_bench(emit(endpoint), "link.image_check", values={"identity": VALUES})
    assert count == 3 * len(PAUSES) + 2


def test_two_crcs_of_words():
    rng = np.random.default_rng(seed())
    words = rng.integers(0, 1 << 32, 200, dtype=np.uint32)
    words[:40] = [1 << bit for bit in range(32)] + [0, 0xFFFFFFFF] * 4
    ours = rng.integers(0, 2, len(words)).astype(bool)
    checker = StoreChecker()

    async def bench(ctx):
        ctx.set(checker.count, int(ours.sum()))
        ctx.set(checker.start, 1)
        await ctx.tick()
        ctx.set(checker.start, 0)
        # Words of the image come before a request's, never among them.
        ctx.set(checker.r_valid, 1)
        for word in words[ours].tolist():
            assert ctx.get(checker.busy)
            ctx.set(checker.r_data, word)
            await ctx.tick()
        assert not ctx.get(checker.busy)
        ctx.set(checker.image_word, 1)
        for word in words[~ours].tolist():
            ctx.set(checker.r_data, word)
            await ctx.tick()
        assert ctx.get(checker.crc) == zlib.crc32(words[ours].tobytes())
        assert ctx.get(checker.image_crc) == zlib.crc32(words[~ours].tobytes())
        ctx.set(checker.image_word, 0)
        ctx.set(checker.image_clear, 1)
        await ctx.tick()
        assert ctx.get(checker.image_crc) == 0
        assert ctx.get(checker.crc) == zlib.crc32(words[ours].tobytes())
        ctx.set(checker.clear, 1)
        await ctx.tick()
        assert ctx.get(checker.crc) == 0

    simulator = Simulator(checker)
    simulator.add_clock(1e-8)
    simulator.add_testbench(bench)
    simulator.run()
