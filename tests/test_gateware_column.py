"""The column: bench against Python integers, with upsets for the Σ-check."""

import pytest

from dpnet.gateware.array.column import Column
from dpnet.gateware.emit import emit
from dpnet.model.engine.parameters import EngineParameters
from dpnet.model.engine.widths import accumulator_widths, limb_widths
from dpnet.sim.benches.array.column import KINDS
from dpnet.sim.kit.bench import rounds, run_bench
from dpnet.sim.kit.bundle import Bundle

ENGINES = {
    # Two limbs: buckets of 31, 26 and 25 + 12 bits.
    "full": {"stages": 3, "segments": 3, "max_columns": 60},
    "least": {"stages": 2, "segments": 1, "index_bits": 1, "max_columns": 2, "entry_bits": 2},
    "long": {"stages": 1, "segments": 2, "max_columns": 4096, "index_bits": 3, "residues": False},
    # Two limbs, and entries in two parts.
    "split": {"stages": 2, "segments": 2, "max_columns": 50, "multiplier": "18x18"},
    "split19": {
        "stages": 1,
        "segments": 2,
        "max_columns": 9,
        "multiplier": "18x18",
        "activation_bits": 9,
        "entry_bits": 19,
    },
    # One limb: 14 × 9, 25 × 18 and 18 × 25 bits.
    "single": {
        "stages": 1,
        "segments": 1,
        "index_bits": 2,
        "max_columns": 33,
        "activation_bits": 8,
        "entry_bits": 9,
    },
    "bucket25": {
        "stages": 5,
        "segments": 5,
        "index_bits": 3,
        "max_columns": 64,
        "activation_bits": 19,
        "entry_bits": 18,
    },
    "bucket18": {
        "stages": 2,
        "segments": 5,
        "index_bits": 3,
        "max_columns": 64,
        "activation_bits": 12,
    },
}


def limbs(engine):
    """Bits of the two accumulators' ports that the bench reads; 0 for one that is not there."""
    low, high = accumulator_widths(engine)
    return {"low_bits": low if limb_widths(engine)[0] else 0, "high_bits": high}


def test_column_bench():
    engines = {name: EngineParameters(**sizes) for name, sizes in ENGINES.items()}
    columns = {name: {"engine": ENGINES[name], **limbs(engine)} for name, engine in engines.items()}
    bundle = Bundle(**{name: Column(engine=engine) for name, engine in engines.items()})
    values = {"columns": columns, "rows": rounds(150)}
    count = run_bench(emit(bundle), "array.column", values=values)
    assert count == 2 * len(KINDS)


@pytest.mark.parametrize(
    "activation_bits, max_columns, entry_bits, limbs",
    [
        (25, 1, 18, (0, 25)),
        (25, 2, 18, (17, 9)),
        (25, 1, 19, (17, 8)),
        (18, 1, 25, (0, 18)),
        (18, 2, 25, (17, 2)),
        (25, 1024, 25, (17, 18)),
        (8, 2048, 9, (0, 19)),
        (8, 2048, 18, (0, 19)),
        (8, 2048, 19, (17, 2)),
    ],
)
def test_a_bucket_takes_two_multipliers_when_one_is_too_narrow(
    activation_bits, max_columns, entry_bits, limbs
):
    """A DSP slice multiplies 25 by 18 signed bits; each limb then fits one, with either entry."""
    engine = EngineParameters(
        activation_bits=activation_bits, max_columns=max_columns, entry_bits=entry_bits
    )
    assert limb_widths(engine) == limbs
    low, high = limbs
    assert low + high == engine.sum_bits
    for bits in (high, low + 1 if low else 1):
        assert sorted([bits, entry_bits]) <= [18, 25] and max(bits, entry_bits) <= 25


@pytest.mark.parametrize("name", ENGINES)
def test_accumulators_hold_any_row(name):
    """All buckets at a limb's extremes times the largest entry."""
    engine = EngineParameters(**ENGINES[name])
    low, high = limb_widths(engine)
    largest = engine.buckets << engine.entry_bits - 1
    least_low, least_high = accumulator_widths(engine)
    assert largest * (1 << high - 1) <= 1 << least_high - 1
    if low:
        assert largest * ((1 << low) - 1) <= 1 << least_low - 1
