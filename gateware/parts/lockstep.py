"""Delayed lockstep: a second of a kind works a cycle behind the first, and what they do not agree
on is a fault of either.  What is a mere delay carries a parity instead."""

from amaranth.hdl import Cat, Const, Module, Mux, Signal, Value
from amaranth.lib.wiring import In

from dpnet.gateware.emit import place

GROUP = 18
"""Bits compared in one cycle: six LUTs of six inputs, and one for them."""


class Lockstep:
    """Second components in `m`, each a cycle behind its first: a fault that both would make in the
    same cycle hits different work, and a synthesizer finds nothing to share between them.

    `follow` adds one, `compare` what a second one is not a component of its own for, `watch` any
    other sign of a fault; after the last, `differs` gives a signal that is high for every cycle in
    which a pair disagreed, `latency` cycles later.  Memories inside must not be shown by what is
    compared before they are written after a reset: the second one loses a write more.
    """

    latency = 4

    def __init__(self, m: Module) -> None:
        self._m = m
        self._groups: list[Signal] = []
        # The second ones leave reset a cycle later, as everything reaches them a cycle later.
        self._reset = Signal(name="reset_behind", init=1)
        m.d.sync += self._reset.eq(0)

    def follow(self, component, first, name, *, given=None, trusted=()):
        """Place `component`, equal to the one whose ports are `first`, as `name`_behind; returns
        its ports.  `given`: inputs that do not come from the first one's but from another second
        component, by name; `trusted`: outputs that are not compared."""
        m, given = self._m, given or {}
        second = place(m, component, f"{name}_behind", reset=self._reset)
        ours, theirs = (
            {path: Value.cast(port) for path, _, port in component.signature.flatten(ports)}
            for ports in (second, first)
        )
        found, wanted = [], []
        for path, member, _ in component.signature.flatten(first):
            value, label = theirs[path], f"{name}_" + "__".join(map(str, path))
            if path[0] in given:
                m.d.comb += ours[path].eq(given[path[0]])
                continue
            if member.flow != In and path[0] in trusted:
                continue
            if path[-1] == "payload" and member.flow != In:  # of a stream: nothing without valid
                value = Mux(theirs[*path[:-1], "valid"], value, 0)
                ours[path] = Mux(ours[*path[:-1], "valid"], ours[path], 0)
            late = Signal(value.shape(), name=f"{label}_late")
            m.d.sync += late.eq(value)
            if member.flow == In:
                m.d.comb += ours[path].eq(late)
            else:
                found.append(ours[path])
                wanted.append(late)
        self.compare(name, Cat(found), Cat(wanted))
        return second

    def late(self, value):
        """`value` a cycle later: what the second one sees, or is compared with."""
        late = Signal(Value.cast(value).shape(), name="late")
        self._m.d.sync += late.eq(value)
        return late

    def watch(self, name, suspect):
        """`suspect` is high in a cycle that shows a fault."""
        self.compare(name, suspect, Const(0, 1))

    def compare(self, name, found, wanted):
        """`found`, of a second one, must be `wanted`."""
        for n in range(0, len(found), GROUP):
            group = Signal(name=f"{name}_differs_{n // GROUP}")
            part = slice(n, n + GROUP)
            self._m.d.sync += group.eq((found[part] != wanted[part]) & ~self._reset)
            self._groups.append(group)

    def differs(self):
        """Whether any pair disagreed."""
        few = []
        for n in range(0, len(self._groups), GROUP):
            some = Signal(name=f"differs_{n // GROUP}")
            self._m.d.sync += some.eq(Cat(self._groups[n : n + GROUP]).any())
            few.append(some)
        late = Signal(name="differs")
        self._m.d.sync += late.eq(Cat(few).any())
        return late


def carried(m, values, cycles, *, name="delay"):
    """Delays `values` together with their parity: (what shows after 0, 1, … `cycles` cycles,
    whether a bit changed on the way).

    A flip shows `cycles` cycles after its word entered, in every cycle, so nothing has to say which
    words count.  The parity is odd, so that a single bit's is not its copy, which synthesis would
    merge with it.
    """
    taps = [[*values, ~Cat(*values).xor()]]
    for _ in range(cycles):
        *late, odd = (Signal.like(value, name=name) for value in taps[-1])
        taps.append([*late, Signal.like(odd, init=1)])
        m.d.sync += [new.eq(old) for new, old in zip(taps[-1], taps[-2], strict=True)]
    return [tap[:-1] for tap in taps], ~Cat(*taps[-1]).xor()
