"""Single faults in every kind of storage and behind every adder, while the engine computes.

    make faults     (python -m dpnet.sim.measure.faults [--seed 0] [--injections 1000] [--cycles
    1e8] [--json])

Each injection turns over one bit of a memory word or flip-flop at a random cycle of a run of
1 to 4 vectors; then two runs of other vectors follow.  Results are read after every run.
*Detected*: an error strobed (or a run took more than four times its cycles) before a wrong result
was handed over without one.  *Harmless*: no error, and every result of the three runs equals
golden.  *Silent*: a wrong result without any error until then.  Besides, fault-free runs of random
products: each error that strobes in them, and each of their results that differs, is a false
alarm.

Each place is hit at any time, in use or not; half of the flips of a memory hit words that the
runs use.  The bits behind an adder are flipped in the cycle after an addition: a register's at
any cycle, a bucket's in the word that was just written.  Every register of the core belongs to a
kind, those of the checks too.

Writes build/faults.json: at its top what holds for the engines with all checks (`lockstep`), under
"without_lockstep" the same of those that are built without, where some kinds are not checked.
Exit codes: 0 no false alarm, and nothing silent in an engine with all checks, nor elsewhere in a
kind that is checked there; 1 otherwise; 2 wrong usage; 3 no simulator, or it failed; 130
interrupted (what was counted until then is kept).
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.measure.faults", "all"))

import argparse
import json
import re
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import emit
from dpnet.gateware.parts.bus import ERRORS
from dpnet.model.build_root import build_root
from dpnet.model.engine.configurations import SMALL, Configuration
from dpnet.model.engine.layout import LAYER_WORDS, Region, result_bytes, results, slot_words
from dpnet.model.engine.parameters import ceil_div, ceil_log2
from dpnet.model.engine.records import ROW
from dpnet.model.evidence import provenance
from dpnet.sim.board.bare_core import CHANGED, BareCore, Place, Run, build_core
from dpnet.sim.board.harness import HarnessError
from dpnet.sim.measure.faults_report import Count, Kind, Tally, short
from dpnet.sim.measure.single import Single
from dpnet.sim.simulator import SimulatorError

VECTORS = 4
"""At most, of a run; two sets take turns, so that results that stay behind are wrong ones."""
HUNG = "time-out"
FEWER = 10
"""`--cycles` are those of the engines in lockstep together; the others, whose checks those have
too, run a tenth as long without faults."""
CHUNK_CYCLES = 1_000_000

INJECTIONS, CYCLES = 1000, 1e8
"""Of each kind, and without faults: what a report must have to be evidence."""
"""Fault-free cycles between two comparisons with golden, and for one random product."""


KINDS = (
    Kind("index words", "storage", r"store\.ram\.mem$"),
    Kind("codebook words", "storage", r"books\.ram\.mem$"),
    Kind("row parameters", "storage", r"\brows\.ram\.mem$"),
    Kind("vectors", "storage", r"vectors\.ram\.mem$"),
    Kind("layer descriptors", "storage", r"layers\.ram\.mem$"),
    Kind("results", "storage", r"buffer\.ram\.mem$"),
    Kind("exponents", "storage", r"exponents(_behind)?\.(words|rows)\.mem$", fp32=True),
    Kind("buckets", "storage", r"lane_\d+\.(upper\.)?mem$"),
    Kind("buckets at the last drain", "storage", r"\bold\.mem$"),
    Kind("bucket adder", "adder", r"lane_\d+\.(upper\.)?mem$", changed=True),
    Kind("segments' adder (chain)", "adder", r"lane_\d+\.o$"),
    Kind("difference of two drains", "adder", r"(column_\d+\.(gain|before|new_\d)|old\.r_data)$"),
    Kind("sum of the gains", "adder", r"column_\d+\.left$"),
    Kind("sum of the inputs", "adder", r"array\.(running|(column_0__)?owed$|inputs\.sum_)"),
    Kind("multiplier", "adder", r"column_\d+\.(product|upper|lower)_"),
    Kind("accumulator", "adder", r"column_\d+\.total_"),
    Kind("residues", "adder", r"(column_\d+\.(gain_digits|entry_digits|residue)|post_\d+\.digits)"),
    Kind("row on its way", "register", r"(column_\d+\.(low|high)|array\.rows__\d+)$"),
    Kind("limbs' adder", "adder", r"post_\d+\.(added|accumulator)$"),
    Kind(
        "normalize, requantize",
        "adder",
        r"post_\d+\.(normalize|requantize)(_behind)?\.",
        lockstep=True,
    ),
    Kind("align, scan", "adder", r"^(feeder|scanner|exponents)(_behind)?\.", lockstep=True),
    Kind("sequencer, copier", "register", r"^(sequencer|copier)(_behind)?\.", lockstep=True),
    Kind("other registers", "register", r"", lockstep=True, times=10),
)
"""A place belongs to the first kind that it matches (`changed` ones aside)."""


def places_by_kind(places: Sequence[Place]) -> dict[Kind, list[Place]]:
    """Every place under its kind; raises `LookupError` for a kind without any.  An engine that does
    not scan has no kinds of `fp32`."""
    found: dict[Kind, list[Place]] = {kind: [] for kind in KINDS}
    for place in places:
        matching = [kind for kind in KINDS if re.search(kind.pattern, short(place))]
        for kind in matching:
            if kind.changed or kind is next(k for k in matching if not k.changed):
                found[kind].append(place)
    scans = any(short(place).startswith("scanner.") for place in places)
    found = {kind: some for kind, some in found.items() if scans or not kind.fp32}
    if empty := [kind.name for kind, some in found.items() if not some]:
        raise LookupError(
            f"no register or memory belongs to {', '.join(empty)}: the gateware's names have "
            "changed, see KINDS in sim/measure/faults.py"
        )
    return found


class Twins(Single):
    """A random layer twice, for two sets of vectors, one behind the other in the store; results
    use the range of numbers that they have, so that little hides in saturation or behind ReLU."""

    def __post_init__(self) -> None:
        super().__post_init__()
        layer, rng = self.layers[0], self.rng
        layer.descriptor = replace(layer.descriptor, relu=False)
        self.inputs = [[self.vector(layer) for _ in range(VECTORS)] for _ in range(2)]
        largest = max(abs(layer.accumulators(x)).max() for x in self.inputs[0])
        bits = int(largest).bit_length()
        layer.shift = np.full(layer.rows, bits + 16 - 7)
        layer.multiplier = rng.integers(1 << 15, 1 << 16, layer.rows)
        # What a row has room for; fp32 results have no bias, and larger sums.
        limit = 1 << min(bits - 2, ROW.places["bias"][1] - 1)
        layer.bias = rng.integers(-limit, limit, layer.rows)
        self.golden = [[layer.results(x) for x in inputs] for inputs in self.inputs]

    def fill(self, core: BareCore) -> None:
        """Everything into the stores, and a run of the second set."""
        layer = self.layers[0]
        self.load(core, [x for inputs in self.inputs for x in inputs])
        second = replace(layer.descriptor, in_row=VECTORS * layer.descriptor.vector_rows)
        core.write(Region.LAYERS.base + 4 * LAYER_WORDS, second.words())
        core.run(1, 1, VECTORS)

    def right(self, core: BareCore, which: int, vectors: int = VECTORS) -> bool:
        """Whether the result buffer holds the golden results of a set's first vectors."""
        engine, slots = self.engine, self.engine.tiles(self.rows) * self.engine.stages
        pitch, size = slots * slot_words(engine), result_bytes(engine, self.rows) // 4
        words = core.read(Region.RESULT.base, vectors * pitch)
        return all(
            np.array_equal(results(engine, words[n * pitch : n * pitch + size], self.rows), wanted)
            for n, wanted in enumerate(self.golden[which][:vectors])
        )

    def used_words(self, kind: Kind, place: Place) -> int:
        """So many words of a memory, from its first on, take part in the runs."""
        engine, d = self.engine, self.layers[0].descriptor
        slots, rows = d.tiles * engine.stages, 2 * VECTORS * d.vector_rows
        return min(
            place.depth,
            {
                "index words": ceil_div(d.tiles * d.beats, engine.fold),
                "codebook words": slots << engine.index_bits,
                "row parameters": slots << ceil_log2(engine.bank_columns),
                "vectors": rows * engine.row_beats,
                "exponents": rows if place.depth == engine.vector_rows else rows * engine.row_beats,
                "layer descriptors": 2,
                "results": VECTORS * slots << ceil_log2(engine.bank_columns),
            }.get(kind.name, place.depth),
        )


class Campaign:
    """Injections into one engine.  `ignored`: error strobes that nobody looks at, to see what they
    are good for."""

    def __init__(
        self,
        core: BareCore,
        product: Twins,
        rng: np.random.Generator,
        *,
        ignored: Sequence[str] = (),
    ) -> None:
        self.core, self.product, self.rng = core, product, rng
        self._heeded = sum(1 << n for n, name in enumerate(ERRORS) if name not in ignored)
        self.places = places_by_kind(core.places())
        product.fill(core)
        if not product.right(core, 1):
            raise HarnessError("a run without faults gives wrong results")
        self._cycles = [core.run(1, 1, n + 1).cycles for n in range(VECTORS)]

    def inject(self, kind: Kind) -> tuple[str, list[str], Place]:
        """One injection: its outcome, the errors that strobed, the place."""
        while True:
            vectors = int(self.rng.integers(1, VECTORS + 1))
            at = int(self.rng.integers(0, self._cycles[vectors - 1] - 2))
            place, word, bit = self._choose(kind)
            with self.core.trial():
                run, done = self.core.run_with_faults(
                    0, at, [(place, word, bit)], vectors=vectors, limit=self._limit(vectors)
                )
                if done:
                    outcome, seen = self._judge(run, vectors)
                    return outcome, seen, place

    def _limit(self, vectors: int) -> int:
        return 4 * self._cycles[vectors - 1]

    def _choose(self, kind: Kind) -> tuple[Place, int, int]:
        """Any bit of the kind; half of a memory's among the words in use."""
        places, rng = self.places[kind], self.rng
        bits = np.array([place.width * max(1, place.depth) for place in places], float)
        place = places[rng.choice(len(places), p=bits / bits.sum())]
        word = 0
        if kind.changed:
            word = CHANGED
        elif place.depth:
            used = self.product.used_words(kind, place)
            word = int(rng.integers(used if rng.random() < 0.5 else place.depth))
        return place, word, int(rng.integers(place.width))

    def _judge(self, run: Run, vectors: int) -> tuple[str, list[str]]:
        """What the run with the fault and two runs after it show."""
        for which in (0, 1, 0):
            errors, hung = run.errors, [] if run.ended else [HUNG]
            right = not hung and self.product.right(self.core, which, vectors)
            errors = (errors | self.core.read_errors) & self._heeded
            if errors or hung:
                seen = [name for n, name in enumerate(ERRORS) if errors >> n & 1]
                return "detected", seen or hung
            if not right:
                return "silent", []
            other = 1 - which
            run = self.core.run(other, other, vectors, limit=self._limit(vectors))
        return "harmless", []


def campaign(
    name: str,
    made: Configuration,
    program: Path,
    injections: int,
    seed: int,
    *,
    ignored: Sequence[str] = (),
    kinds: Sequence[Kind] = KINDS,
) -> Iterator[Count]:
    """`injections` of each kind (times `Kind.times`) into an engine built with faults; a count for
    each kind."""
    rng = np.random.default_rng([seed, 1])
    product = Twins(made.engine, rng, rows=made.rows, columns=made.columns)
    with BareCore(program) as core:
        tried = Campaign(core, product, rng, ignored=ignored)
        for kind in (kind for kind in kinds if kind in tried.places):
            checked, places = kind.is_checked(made.engine), len(tried.places[kind])
            count = Count(name, kind, checked=checked, places=places)
            for _ in range(injections * kind.times):
                count.add(*tried.inject(kind))
            yield count


def fault_free(
    made: Configuration, program: Path, cycles: int, seed: int
) -> Iterator[tuple[int, int]]:
    """Random products without faults for at least so many clock cycles: (cycles, false alarms) of
    one product after the other."""
    rng, counted = np.random.default_rng([seed, 2]), 0
    with BareCore(program) as core:
        while counted < cycles:
            product = Twins(made.engine, rng, rows=made.rows, columns=made.columns)
            product.fill(core)
            usual = core.run(0, 0, VECTORS)
            count = ceil_div(min(CHUNK_CYCLES, cycles - counted), usual.cycles)
            clocks, errors, other = core.soak(count, 0, VECTORS)
            alarms = (usual.errors | errors).bit_count() + other
            alarms += not product.right(core, 0)
            alarms += core.read_errors.bit_count()
            counted += clocks
            yield clocks, alarms


def run_all(tally: Tally, names: Sequence[str], injections: int, cycles: int, path: Path) -> None:
    """Build the engines, inject, then run them without faults; `tally` counts."""
    began = time.monotonic()
    for name in names:
        made = SMALL[name]
        part = tally.part(made.engine)
        print(f"{name}: building, with and without faults (first time: minutes)", file=sys.stderr)
        verilog = emit(ArrayCore(engine=made.engine))
        plain, _ = build_core(verilog)  # four times as fast without VPI
        program, _ = build_core(verilog, faults=True)
        for count in campaign(name, made, program, injections, tally.seed):
            print(
                f"{name}: {count.kind.name}: {count.detected} detected, {count.harmless} "
                f"harmless, {count.silent} silent",
                file=sys.stderr,
            )
            part.counts.append(count)
            tally.seconds = time.monotonic() - began
            tally.write(path)
        alike = sum(SMALL[other].engine.lockstep == made.engine.lockstep for other in names)
        wanted = ceil_div(cycles if made.engine.lockstep else ceil_div(cycles, FEWER), alike)
        for n, (clocks, alarms) in enumerate(fault_free(made, plain, wanted, tally.seed)):
            part.cycles += clocks
            part.alarms += alarms
            tally.seconds = time.monotonic() - began
            tally.write(path)
            if n % 10 == 0:
                print(
                    f"{name}: {part.cycles:,} cycles without faults, {part.alarms} false alarms",
                    file=sys.stderr,
                )


def main(arguments: list[str] | None = None) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.measure.faults",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(SMALL)}")
    parser.add_argument("--injections", type=int, default=INJECTIONS, help="of each kind (1000)")
    parser.add_argument("--cycles", type=float, default=CYCLES, help="without faults (1e8)")
    parser.add_argument("--seed", type=int, default=0, help="of everything random (0)")
    parser.add_argument("--json", action="store_true", help="print the report, no table")
    options = parser.parse_args(arguments)
    names = options.names or list(SMALL)
    if unknown := [name for name in names if name not in SMALL]:
        parser.error(f"no engine is called {unknown[0]!r}; there are {', '.join(SMALL)}")
    if options.injections < 1 or options.cycles < 1:
        parser.error("--injections and --cycles must be at least 1")
    tally = Tally(
        options.seed,
        f"make faults (injections {options.injections}, "
        f"cycles {options.cycles:.0e}, seed {options.seed})",
    )
    path, interrupted = build_root() / "faults.json", False
    made_of = provenance("faults.json")
    try:
        run_all(tally, names, options.injections, int(options.cycles), path)
        if not options.names and options.injections >= INJECTIONS and options.cycles >= CYCLES:
            tally.write(path, made_of)
    except (SimulatorError, HarnessError, LookupError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 3
    except KeyboardInterrupt:
        interrupted = True
        print(f"\ninterrupted; what was counted until now is in {path}", file=sys.stderr)
    print(json.dumps(tally.report()) if options.json else tally.show())
    return 130 if interrupted else int(bool(tally.failures()))
