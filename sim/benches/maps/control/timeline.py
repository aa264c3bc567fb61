"""Inputs and outputs by cycle: what is given when, and what must show when."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Mapping
from typing import Any

from cocotb.triggers import FallingEdge, RisingEdge

from dpnet.sim.kit.bundle import Part

Values = dict[str, Any]


class Timeline:
    """`give` and `expect` name ports and what they have in a cycle; `run` does it and compares.

    Inputs that are not given have the value that `defaults` says; `show` turns what the ports
    `watched` have into what was expected; those that nothing is said of must be as `quiet` says.
    """

    def __init__(self, name: str, part: Part, defaults: Mapping[str, int]) -> None:
        self.name, self.part, self.defaults = name, part, dict(defaults)
        self.inputs: dict[int, dict[str, int]] = defaultdict(dict)
        self.wanted: dict[int, Values] = defaultdict(dict)
        self.compared = 0

    def give(self, cycle: int, **values: int) -> None:
        self.inputs[cycle] |= values

    def expect(self, cycle: int, **values: Any) -> None:
        self.wanted[cycle] |= values

    async def run(self, cycles: int, show: Callable[[], Values], quiet: Values) -> None:
        """From a rising edge on, `cycles` cycles."""
        set_now = dict.fromkeys(self.defaults, -1)
        for cycle in range(cycles):
            now = self.defaults | self.inputs.get(cycle, {})
            for port, value in now.items():
                if set_now[port] != value:
                    getattr(self.part, port).value = set_now[port] = value
            await FallingEdge(self.part.clk)
            found, wanted = show(), quiet | self.wanted.get(cycle, {})
            assert found == wanted, f"{self.name}, cycle {cycle}: {found}, expected {wanted}"
            self.compared += cycle in self.wanted
            await RisingEdge(self.part.clk)
        assert max(self.wanted, default=0) < cycles, f"{self.name}: there is more to come"
