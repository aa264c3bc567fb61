"""Lamps: on long enough to be seen, off soon enough to mean something."""

from itertools import pairwise

import pytest
from amaranth.sim import Simulator

from dpnet.boards.parts.lamps import Lamps


def watched(clock_hz, events, cycles):
    """What each lamp shows in every cycle, when the events of `events` (name → cycles in which they
    happen) happen."""
    lamps = Lamps(clock_hz=clock_hz, events=events)
    seen = {name: [] for name in (*events, "alive")}

    async def bench(ctx):
        for cycle in range(cycles):
            for name, when in events.items():
                ctx.set(getattr(lamps, f"i_{name}"), cycle in when)
            await ctx.tick()
            for name, values in seen.items():
                values.append(ctx.get(getattr(lamps, f"o_{name}")))

    simulator = Simulator(lamps)
    simulator.add_clock(1 / clock_hz)
    simulator.add_testbench(bench)
    simulator.run()
    return seen


def test_a_heartbeat_and_events_that_are_shown_each_by_its_own_lamp():
    happens = {"link": range(100, 101), "busy": range(300, 600), "never": range(0)}
    seen = watched(1024, happens, 4 * 1024)
    changes = [n for n, (before, now) in enumerate(pairwise(seen["alive"])) if before != now]
    assert [after - before for before, after in pairwise(changes)] == [1024] * 3
    assert not any(seen["never"])
    on = [n for n, value in enumerate(seen["link"]) if value]
    assert on == list(range(100, on[-1] + 1)) and 32 <= len(on) <= 66
    on = [n for n, value in enumerate(seen["busy"]) if value]
    assert on == list(range(300, on[-1] + 1)) and 332 <= len(on) <= 366


@pytest.mark.parametrize("clock_hz", [1000, 1023, 1024, 1999, 2047, 4000])
def test_times_at_any_clock(clock_hz):
    """`alive` changes every 0.5 to 1 s, an event is seen for 1/32 to 1/16 of that."""
    moment = 3 * clock_hz // 4
    seen = watched(clock_hz, {"e": range(moment, moment + 1)}, 3 * clock_hz)
    changes = [n for n, (before, now) in enumerate(pairwise(seen["alive"])) if before != now]
    half = changes[1] - changes[0]
    assert 0.5 <= half / clock_hz <= 1
    on = sum(seen["e"])
    assert half / 32 <= on <= half / 16 + 2


@pytest.mark.parametrize("clock_hz", [999, 5e7])
def test_a_clock_that_is_no_whole_number_of_hertz_is_refused(clock_hz):
    with pytest.raises(ValueError) as caught:
        Lamps(clock_hz=clock_hz, events=())
    assert str(caught.value) == f"clock_hz must be an integer of at least 1000, not {clock_hz!r}"
