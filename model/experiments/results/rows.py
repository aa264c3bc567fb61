"""The rows of results: what an experiment found, in the form that is committed and read again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from dpnet.model.experiments.plans import CONTROL
from dpnet.model.experiments.results.sizes import Sizes

__all__ = ["Row", "document", "row_of", "with_deltas"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """One network after one method.  Accuracies in percent of the test part, deltas in points:
    `delta` against the pretrained net, `delta_control` against the net that was trained on in
    float for as many epochs, `delta_adversarial` under attack (None: not attacked).  `bits` 32: in
    float.  `epochs` behind the pretrained net; bytes as `Sizes` has them, None where there are
    none; `accuracy_engine` of the integer golden model, None where it was not computed."""

    table: str
    network: str
    dataset: str
    method: str
    bits: int
    epochs: int
    seed: int
    ratio_eq1: float
    bytes_indices: int | None
    bytes_with_codebooks: int | None
    bytes_total: int
    bytes_float: int
    accuracy_pretrained: float
    accuracy: float
    accuracy_engine: float | None = None
    delta: float | None = None
    delta_control: float | None = None
    delta_adversarial: float | None = None


def size_fields(found: Sizes) -> dict[str, Any]:
    """What a row says of sizes."""
    return {
        "ratio_eq1": found.ratio_eq1,
        "bytes_indices": found.indices,
        "bytes_with_codebooks": found.with_codebooks,
        "bytes_total": found.total,
        "bytes_float": found.as_float,
    }


def float_fields(as_float: int) -> dict[str, Any]:
    """The same of a net in float32."""
    return {
        "ratio_eq1": 1.0,
        "bytes_indices": None,
        "bytes_with_codebooks": None,
        "bytes_total": as_float,
        "bytes_float": as_float,
    }


def with_deltas(rows: Sequence[Row]) -> list[Row]:
    """The rows with `delta`, and with `delta_control` where there is a control of their network and
    seed: of their own epochs if there is one, else of the most."""
    return [
        replace(
            row,
            delta=round(row.accuracy - row.accuracy_pretrained, 4),
            delta_control=_difference(row, _control_of(row, rows)),
        )
        for row in rows
    ]


def _control_of(row: Row, rows: Sequence[Row]) -> Row | None:
    same = [
        other
        for other in rows
        if (other.method, other.network, other.seed) == (CONTROL, row.network, row.seed)
    ]
    exact = [other for other in same if other.epochs == row.epochs]
    return next(iter(exact or sorted(same, key=lambda r: -r.epochs)), None)


def _difference(row: Row, control: Row | None) -> float | None:
    return None if control is None else round(row.accuracy - control.accuracy, 4)


def document(
    command: str, data: str, machine: str, sources: str, rows: Sequence[Row]
) -> dict[str, Any]:
    """The committed form: `command` makes it again, `data` is a note on the data set, `machine` on
    what trained, `sources` the digest of the code behind it."""
    return {
        "command": command,
        "data": data,
        "machine": machine,
        "sources": sources,
        "rows": [asdict(row) for row in with_deltas(rows)],
    }


def row_of(said: Mapping[str, Any]) -> Row:
    """A row as JSON has it; TypeError for other names than a row's."""
    return Row(**said)
