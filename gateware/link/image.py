"""What the engine knows of its image."""

from amaranth import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware.registers import State


class ImageRecord(wiring.Component):
    """State, epoch, CRC-32 and words of the image.

    Members: each for one cycle, `begin` makes it LOADING under `new_epoch`, unless it is loaded or
    being loaded under that; `commit` VALID, with `new_crc` and `new_words`; `lose` LOADING under
    the same epoch, so that a load of the same image sends only what changed.  `state`; `valid`, it
    is VALID; `epoch`; `crc` and `words`, 0 while not valid; `changed`, from `lose` on.
    """

    begin: In(1)
    new_epoch: In(8)
    commit: In(1)
    new_crc: In(32)
    new_words: In(32)
    lose: In(1)
    state: Out(State)
    valid: Out(1)
    epoch: Out(8)
    crc: Out(32)
    words: Out(32)
    changed: Out(1)

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.valid.eq(self.state == State.VALID)
        other = (self.state == State.EMPTY) | (self.epoch != self.new_epoch)
        with m.If(self.begin & other):
            m.d.sync += [self.state.eq(State.LOADING), self.epoch.eq(self.new_epoch)]
            m.d.sync += [self.crc.eq(0), self.words.eq(0), self.changed.eq(0)]
        with m.If(self.commit):
            m.d.sync += [self.state.eq(State.VALID), self.changed.eq(0)]
            m.d.sync += [self.crc.eq(self.new_crc), self.words.eq(self.new_words)]
        with m.If(self.lose):
            m.d.sync += [self.state.eq(State.LOADING), self.changed.eq(1)]
            m.d.sync += [self.crc.eq(0), self.words.eq(0)]
        return m
