"""How far the regions of the address map reach."""

from amaranth import Signal

from dpnet.gateware.registers import REGION_SHIFT, REGISTERS, Region

REGION_WORDS = 1 << (REGION_SHIFT - 2)


def check_words(words):
    """`words` by region as a dictionary, that of the registers with it; raises `ValueError` for a
    region that has no stores, or more words than a region."""
    found = {int(region): count for region, count in dict(words).items()}
    for region, count in found.items():
        if not Region.IMAGE_FIRST <= region <= Region.MAPS:
            raise ValueError(f"words must be of regions 1 to 7, not {region!r}")
        if not isinstance(count, int) or not 0 <= count <= REGION_WORDS:
            raise ValueError(f"words[{region}] must be 0 to {REGION_WORDS}, not {count!r}")
    return {Region.REGISTERS: len(REGISTERS), **found}


def words_of(m, region, words, name):
    """Words of the region `region`, 0 where there is nothing, from `words` by region;
    combinational, without a latch."""
    found = Signal(range(REGION_WORDS + 1), name=name)
    with m.Switch(region):
        for number, count in words.items():
            with m.Case(number):
                m.d.comb += found.eq(count)
    return found
