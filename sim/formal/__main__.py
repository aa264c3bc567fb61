"""`make formal`: control blocks proved by k-induction, covers reached, planted bugs caught.

    python -m dpnet.sim.formal [NAME…] [--json]

A NAME is that of a proof or of a planted bug; without any all are run.  Every proof has properties
and helper invariants, which are proved together: they hold in the cycles after reset (base case)
and, wherever they held for `depth` cycles, in the next one (induction).  Its covers show that its
assumptions leave room for what they are about.  Each property is then broken by a planted bug, an
edit of the gateware's source in a temporary copy, whose counterexample starts at reset.

Results are kept by content (build/formal: gateware and properties as RTLIL, depth, engines, tools'
versions): what did not change is not proved again.  Writes build/formal.json after each result;
`kept` there says that it is of an earlier run, whose `seconds` these are.  Exit codes: 0 all
proved, reached and caught; 1 otherwise; 2 wrong usage; 3 a tool is missing or failed; 130
interrupted, by Ctrl-C or SIGTERM: no solver is left, and the same command goes on where it was.
"""

from __future__ import annotations

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.sim.formal.__main__", "all"))

import argparse
import json
import signal
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from dpnet.model.build_root import build_root
from dpnet.model.evidence import provenance
from dpnet.model.files import write_json
from dpnet.sim.formal.harness import COVERS
from dpnet.sim.formal.planting import plant
from dpnet.sim.formal.proof import Bug, Proof
from dpnet.sim.formal.sby import FormalError, Sby
from dpnet.sim.formal.table import BUGS, PROOFS

TIMEOUT = 600
"""Seconds for one run of SymbiYosys."""


class Report:
    """What was found so far, in the form of build/formal.json."""

    def __init__(self, *, quiet: bool) -> None:
        self.proofs: list[dict[str, Any]] = []
        self.covers: list[dict[str, Any]] = []
        self.bugs: list[dict[str, Any]] = []
        self.complete = False
        self._made_of = provenance("formal.json")
        self._quiet = quiet

    def prove(self, sby: Sby, proof: Proof) -> None:
        """Prove the properties of `proof`, reach its covers."""
        harness = proof.build(only=None)
        found = sby.prove(harness.rtlil(), proof.depth, TIMEOUT, proof.engine)
        self.proofs.append(
            {
                "name": proof.name,
                "method": "k-induction",
                "depth": proof.depth,
                "status": found.status,
                "seconds": found.seconds,
                "kept": found.kept,
                "meaning": proof.meaning,
                "properties": harness.properties,
                "invariants": len(harness.invariants),
                **({"failed": list(found.failed)} if found.failed else {}),
            }
        )
        broken = f": {', '.join(found.failed)}" if found.failed else ""
        self._say(
            f"{proof.name:<18} {found.status:<8}{len(harness.properties):>2} properties, "
            f"{len(harness.invariants)} invariants, {_seconds(found)}{broken}"
        )
        if proof.cover_depth:
            text = proof.build(only=COVERS).rtlil()
            found = sby.cover(text, proof.cover_depth, TIMEOUT)
            for name in harness.covers:
                step = found.steps.get(name)
                timeout = found.status == "unknown"
                status = "reached" if step is not None else "unknown" if timeout else "unreached"
                self.covers.append(
                    {
                        "name": name,
                        "proof": proof.name,
                        "status": status,
                        "step": step,
                        "kept": found.kept,
                    }
                )
                where = "" if step is None else f" in cycle {step}"
                self._say(f"  cover {name}: {status}{where}")

    def break_it(self, sby: Sby, bug: Bug) -> None:
        """Plant `bug`; whether its property breaks."""
        found = plant(sby, bug)
        caught = found.status == "fail" and found.failed == (bug.property,)
        self.bugs.append(
            {
                "name": bug.name,
                "proof": bug.proof,
                "property": bug.property,
                "file": bug.file,
                "caught": caught,
                "status": found.status,
                "seconds": found.seconds,
                "kept": found.kept,
            }
        )
        undecided = f"UNDECIDED after {TIMEOUT} s"
        verdict = "caught" if caught else undecided if found.status == "unknown" else "SURVIVED"
        self._say(f"  bug {bug.name}: {verdict} by {bug.proof}: {bug.property}, {_seconds(found)}")

    @property
    def passes(self) -> bool:
        return (
            all(proof["status"] == "pass" for proof in self.proofs)
            and all(cover["status"] == "reached" for cover in self.covers)
            and all(bug["caught"] for bug in self.bugs)
        )

    def document(self) -> dict[str, Any]:
        return {
            "complete": self.complete,
            "proofs": self.proofs,
            "covers": self.covers,
            "planted_bugs": self.bugs,
            **(self._made_of if self.complete else {}),
        }

    def _say(self, line: str) -> None:
        if not self._quiet:
            print(line, flush=True)


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    options = _parse(arguments)
    report = Report(quiet=options.json)
    path = build_root() / "formal.json"
    code, text = 0, ""
    try:
        with _ended_by_sigterm():
            _run(report, options.names, path)
    except FormalError as error:
        code, text = 3, str(error)
    except KeyboardInterrupt:
        code, text = 130, "interrupted; the same command goes on where it was"
    if options.json:
        print(json.dumps(report.document(), indent=2))
    if code:
        print(f"formal: {text}", file=sys.stderr)
        return code
    if not options.json:
        print(_summary(report, path))
    return 0 if report.passes else 1


def uncovered() -> list[str]:
    """Properties without a planted bug, as "proof: property"."""
    planted = {(bug.proof, bug.property) for bug in BUGS}
    return [
        f"{proof.name}: {name}"
        for proof in PROOFS
        for name in proof.build(only=None).properties
        if (proof.like or proof.name, name) not in planted
    ]


def _run(report: Report, names: Sequence[str], path: Path) -> None:
    sby = Sby()
    for proof in PROOFS:
        if not names or proof.name in names:
            report.prove(sby, proof)
            write_json(path, report.document())
        for bug in BUGS:
            if bug.proof == proof.name and (not names or {bug.name, proof.name} & set(names)):
                report.break_it(sby, bug)
                write_json(path, report.document())
    report.complete = not names
    write_json(path, report.document())


@contextmanager
def _ended_by_sigterm() -> Iterator[None]:
    """SIGTERM interrupts as Ctrl-C does."""
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.sim.formal",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("names", nargs="*", metavar="NAME", help="proofs or planted bugs")
    parser.add_argument("--json", action="store_true", help="print build/formal.json instead")
    options = parser.parse_args(arguments)
    known = [*(proof.name for proof in PROOFS), *(bug.name for bug in BUGS)]
    unknown = [name for name in options.names if name not in known]
    if unknown:
        parser.error(f"no such proof or bug: {', '.join(unknown)}; there are {', '.join(known)}")
    return options


def _seconds(found: Any) -> str:
    return f"{found.seconds:.1f} s" + (" (kept)" if found.kept else "")


def _summary(report: Report, path: Path) -> str:
    passed = sum(proof["status"] == "pass" for proof in report.proofs)
    reached = sum(cover["status"] == "reached" for cover in report.covers)
    caught = sum(bug["caught"] for bug in report.bugs)
    return (
        f"{passed} of {len(report.proofs)} proofs, {reached} of {len(report.covers)} covers, "
        f"{caught} of {len(report.bugs)} planted bugs; {path}"
    )
