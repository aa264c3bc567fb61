"""One experiment from its plan to its rows, resumable after every epoch and every row."""

from __future__ import annotations

import copy
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

from torch import nn

from dpnet.model.compile.errors import CompileError
from dpnet.model.compression.ratios import fp32_bytes
from dpnet.model.evidence import EXPERIMENT_ENTRIES, digest
from dpnet.model.experiments.alone import bench_of
from dpnet.model.experiments.evaluation import accuracy
from dpnet.model.experiments.methods import Chain, Stage, chains
from dpnet.model.experiments.nets.unfold import fold_norms
from dpnet.model.experiments.plans import FLOAT_BITS, Plan
from dpnet.model.experiments.results.engine_accuracy import engine_accuracy
from dpnet.model.experiments.results.rows import Row, float_fields, row_of, size_fields
from dpnet.model.experiments.results.sizes import read_network, sizes
from dpnet.model.experiments.robust.attacks import robust_accuracy
from dpnet.model.files import write_json
from dpnet.model.training.checkpoint import fingerprint
from dpnet.model.training.run import Progress

__all__ = ["ENTRIES", "run_plan", "sources"]

ENTRIES = EXPERIMENT_ENTRIES
"""What the results depend on, with all that is imported there."""

Rows = list[Row]


def sources() -> str:
    """The digest of the code behind a result."""
    return digest(ENTRIES)


@dataclass(frozen=True)
class Found:
    """Rows, and the machines that trained what they are of, in words."""

    rows: tuple[Row, ...]
    machine: str


def run_plan(
    plan: Plan,
    *,
    seed: int,
    folder: Path,
    code: str,
    device: str = "cpu",
    on_progress: Progress | None = None,
    on_rows: Callable[[Found], None] = lambda _: None,
) -> Found:
    """All rows of a plan for one seed, in the order in which they were found.

    Checkpoints, rows and nets on their centroids lie below `folder`; the same call with the same
    `code` (`sources`) goes on after the last epoch, and no picture of the test part is looked at
    again for a row that is there.  `on_rows` is given the rows so far after each new one.
    Accuracies of the engine come last: they take longest for the least news.

    Raises `DataError`, `WeightsError` for what is missing, and the errors of `fit`.
    """
    run = _Run(plan, seed, folder, code, device, on_progress)
    for _ in run.measure():
        on_rows(run.found())
    for _ in run.ask_engine():
        on_rows(run.found())
    return run.found()


@dataclass
class _Run:
    """The state of one call."""

    plan: Plan
    seed: int
    runs: Path
    code: str
    device: str
    on_progress: Progress | None
    rows: Rows = field(default_factory=list)
    machines: list[str] = field(default_factory=list)
    done: int = 0

    def __post_init__(self) -> None:
        self.began = time.monotonic()
        self.fresh = 0
        self.total = self.plan.epochs_float
        self.bench = bench_of(self.plan, self.seed, self.runs, self.device, _Told(self, "float", 0))
        self.data, self.folder = self.bench.data, self.bench.folder
        self.done = self.plan.epochs_float
        self.chains = chains(self.plan, self.bench.normed)
        self.total += sum(chain.epochs for chain in self.chains)

    def found(self) -> Found:
        """What there is so far."""
        return Found(tuple(self.rows), "; ".join(dict.fromkeys(self.machines)))

    def measure(self) -> Iterator[Row]:
        """Train and judge everything that is not there yet."""
        before = self._judged_once("pretrained", lambda: self._judge(self.bench.net))
        for chain in self.chains:
            yield from self._chain(chain, before)
            self.done += chain.epochs

    def ask_engine(self) -> Iterator[Row]:
        """The integer golden model's accuracy of every net on centroids."""
        for number, row in enumerate(self.rows):
            if not self.plan.engine or row.bits == FLOAT_BITS or row.accuracy_engine is not None:
                continue
            text = f"the engine's integers: {row.method}, {row.bits} bits"
            self._tell(self.total, text)
            found = self._engine(row)
            if found is None:
                return
            self.rows[number] = replace(row, accuracy_engine=found)
            self._keep(self.rows[number])
            yield self.rows[number]

    def _chain(self, chain: Chain, before: float) -> Iterator[Row]:
        text = f"{chain.methods[0]}, {chain.bits} bits"
        progress = _Told(self, text, self.done)
        for stage in self.bench.stages(chain, progress):
            row = self._known(stage.method, chain.bits) or self._row(stage, chain.bits, before)
            self._keep(row)
            self.rows.append(row)
            self.machines.append(stage.machine)
            yield row

    def _row(self, stage: Stage, bits: int, before: float) -> Row:
        net = fold_norms(copy.deepcopy(stage.net).cpu())
        if bits == FLOAT_BITS:
            counted = float_fields(fp32_bytes(net))
        else:
            place = self._net_folder(stage.method, bits)
            counted = size_fields(sizes(net, 1 << bits, place))
        return Row(
            table=self.plan.name,
            network=self.plan.network,
            dataset=self.plan.entry.dataset,
            method=stage.method,
            bits=bits,
            epochs=stage.epochs,
            seed=self.seed,
            accuracy_pretrained=before,
            accuracy=self._judge(net.to(self.device)),
            delta_adversarial=self._attacked(net),
            **counted,
        )

    def _judge(self, net: nn.Module) -> float:
        return accuracy(net, self.data.test_x, self.data.test_y, self.plan.entry.preparation)

    def _attacked(self, net: nn.Module) -> float | None:
        """Points against the pretrained net, both under attack."""
        if self.plan.attack is None:
            return None
        before = self._judged_once("attacked", lambda: self._under_attack(self.bench.net))
        return round(self._under_attack(net) - before, 4)

    def _under_attack(self, net: nn.Module) -> float:
        plan, data = self.plan, self.data
        assert plan.attack is not None
        x, y = data.test_x[: plan.attacked], data.test_y[: plan.attacked]
        preparation = plan.entry.preparation
        return robust_accuracy(net, x, y, plan.attack, preparation=preparation, seed=self.seed)

    def _engine(self, row: Row) -> float | None:
        """None for a net that the engine does not hold."""
        net = self.plan.entry.make()
        # The files have all tensors but norms' counters.
        net.load_state_dict(read_network(self._net_folder(row.method, row.bits)), strict=False)
        try:
            return engine_accuracy(
                net.eval(),
                self.data.train_x,
                (self.data.test_x, self.data.test_y),
                bits=row.bits,
                preparation=self.plan.entry.preparation,
            )
        except CompileError as error:
            self._tell(self.total, f"no accuracy of the engine: {error}")
            return None

    # What is there already

    def _net_folder(self, method: str, bits: int) -> Path:
        return self.folder / "nets" / f"{method}-{bits}"

    def _known(self, method: str, bits: int) -> Row | None:
        path = self.folder / "rows" / f"{method}-{bits}.json"
        said = _said(path, self._print())
        return None if said is None else row_of(said)

    def _keep(self, row: Row) -> None:
        path = self.folder / "rows" / f"{row.method}-{row.bits}.json"
        write_json(path, {"of": self._print(), "is": asdict(row)})

    def _judged_once(self, name: str, judge: Callable[[], float]) -> float:
        path = self.folder / "rows" / f"{name}.json"
        said = _said(path, self._print())
        found = judge() if said is None else float(said)
        write_json(path, {"of": self._print(), "is": found})
        return found

    def _print(self) -> str:
        """Of which plan and code a row is; bits and rows of the paper are no part of it."""
        plan = replace(self.plan, bits=(), paper=(), methods=(), engine=True)
        return fingerprint(f"{plan!r} {self.seed} {self.code}", ())

    def tell_epoch(self, done: int, text: str) -> None:
        """Progress with the time that is left of everything."""
        self.fresh += 1
        left = (time.monotonic() - self.began) / self.fresh * (self.total - done)
        self._tell(done, f"{text}; about {_clock(left)} left in all")

    def _tell(self, done: int, text: str) -> None:
        if self.on_progress is not None:
            self.on_progress(done, self.total, text)


@dataclass(frozen=True, eq=False)
class _Told:
    """Epochs of a phase as epochs of the whole."""

    run: _Run
    name: str
    before: int

    def __call__(self, done: int, total: int, text: str) -> None:
        if text.startswith(("seed ", "epoch ")):  # before the first, or within one
            self.run._tell(self.before + done, f"{self.name}: {text}")
        else:
            self.run.tell_epoch(self.before + done, f"{self.name}: {text}")


def _said(path: Path, fingerprint: str) -> Any:
    """What a file of the same plan and code says, else None."""
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return None
    return found["is"] if isinstance(found, dict) and found.get("of") == fingerprint else None


def _clock(seconds: float) -> str:
    minutes = round(seconds / 60)
    return f"{minutes // 60} h {minutes % 60:02} min" if minutes >= 60 else f"{minutes} min"
