"""A compute core as the link sees it: stores behind the bus, runs as long as the bench says.

The far side of `dpnet.gateware.parts.bus.CoreSignature` for benches of the link.
"""

from __future__ import annotations

from collections import deque
from typing import Any

from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.gateware.parts.bus import BUS_LATENCY


class CoreModel:
    """Drives the ports `core__*` of `dut`; start `run()` as a task.

    `words` says how many words each region has, `halves` those of a half of regions 5 and 6 in an
    engine that has such: results of the half that is not in work are read during a run.

    Members: `memory` (word address to word), `starts`
    ((first, last, vectors) of every run; of several layers it takes one vector), `busy` (set by a
    start, cleared by `finish`), `aborts`, how often a run was told to end, `reads` (cycle, word
    address) of all words that were asked for, `cycle`, `released` as the link drives it.
    """

    def __init__(
        self, dut: Any, words: dict[int, int], halves: dict[int, int] | None = None
    ) -> None:
        self.dut = dut
        self.words = words
        self.halves = halves or {}
        self._half = 0
        self.memory: dict[int, int] = {}
        self.starts: list[tuple[int, int, int]] = []
        self.busy = False
        self.aborts = 0
        self.reads: list[tuple[int, int]] = []
        self.cycle = 0
        self.released = 0
        dut.core__bus__r_valid.value = 0
        dut.core__bus__r_data.value = 0
        dut.core__busy.value = 0
        dut.core__cycles.value = 0
        dut.core__errors.value = 0
        dut.core__tiles_done.value = 0
        dut.core__stalled.value = 0

    async def run(self) -> None:
        """Answer the bus for ever."""
        dut = self.dut
        answers: deque[int | None] = deque([None] * (BUS_LATENCY - 1), maxlen=BUS_LATENCY)
        valid = False
        while True:
            await FallingEdge(dut.clk)
            address = int(dut.core__bus__address.value)
            read, write = int(dut.core__bus__read.value), int(dut.core__bus__write.value)
            beside = self.busy and not self._is_free(address)
            assert not read or not beside, "the link read a store during a run"
            assert not (read and write), "read and write at once"
            if write and address % (1 << 26) < self.words.get(address >> 26, 0):
                self.memory[address] = int(dut.core__bus__w_data.value)
            if read:
                self.reads.append((self.cycle, address))
            answers.append(self.memory.get(address, 0) if read else None)
            released = int(dut.core__released.value)
            if int(dut.core__start.value):
                assert not self.busy, "the link started a run during a run"
                assert all(answer is None for answer in answers), "a read was on its way at a start"
                assert released == 0, "a run starts with tiles that were released before it"
                first, last = int(dut.core__first.value), int(dut.core__last.value)
                vectors = int(dut.core__last_vector.value) + 1 if first == last else 1
                self.starts.append((first, last, vectors))
                self.busy, self._half = True, int(dut.core__last_vector.value) % 2
                dut.core__tiles_done.value = dut.core__stalled.value = 0
            else:
                assert released >= self.released, "tiles that were released are not any more"
            if int(dut.core__abort.value):
                assert self.busy, "the link ended a run that there was not"
                self.aborts += 1
            self.released = released
            self.cycle += 1
            await RisingEdge(dut.clk)
            answer = answers[0] if len(answers) == BUS_LATENCY else None
            if answer is not None or valid:
                dut.core__bus__r_valid.value = int(answer is not None)
                dut.core__bus__r_data.value = answer or 0
            valid = answer is not None
            if self.busy:
                dut.core__busy.value = 1

    def _is_free(self, address: int) -> bool:
        """Whether a word is a result of the half that the run leaves alone."""
        region, word = address >> 26, address % (1 << 26)
        if region != 6 or region not in self.halves:
            return False
        return (word < self.halves[region]) == (self._half == 1)

    async def strobe(self, errors: int) -> None:
        """Errors for one cycle outside a run, `busy` with them: a result of wrong parity was
        read."""
        assert not self.busy
        self.dut.core__errors.value, self.dut.core__busy.value = errors, 1
        await RisingEdge(self.dut.clk)
        self.dut.core__errors.value, self.dut.core__busy.value = 0, 0

    async def finish(self, cycles: int, errors: list[int]) -> None:
        """End the run: first the strobes `errors`, a cycle each, then `busy` falls."""
        for strobes in errors:
            self.dut.core__errors.value = strobes
            await RisingEdge(self.dut.clk)
        self.dut.core__errors.value = 0
        self.dut.core__cycles.value = cycles
        self.busy = False
        self.dut.core__busy.value = 0
        await RisingEdge(self.dut.clk)
