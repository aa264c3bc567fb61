"""The row of a network, for machines and for a terminal."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpnet.host.report import table

__all__ = ["Row", "networks_table"]


@dataclass(frozen=True, kw_only=True)
class Row:
    """A network on an `engine`, called by its URL.

    `outputs`: values that RTL and the golden model both gave, of the results and of every map of
    every layer of `pictures` pictures; `mismatches` of them differ, or runs of other cycles, with
    errors, or without an end.  `utilization`, 0 to 1, is the share of all lanes and cycles that add
    a weight.

    Accuracies in percent of `samples_of_accuracy` samples, None where the results are no classes:
    of the float network, of the one with weights on codebooks, and of the integers that the engine
    computes (the golden model's on all samples; those that RTL computed are equal).
    `bytes_float`: weights and biases as they were.  `weights` and `calibrated` say where these are
    from.  `result_error` is the root of the mean squared difference of the results in integers
    from the float network's, relative to these; it may be `error_bound` at most, if there is one.
    """

    name: str
    engine: str
    lanes: int
    bits: int
    pictures: int
    outputs: int
    mismatches: int
    cycles_per_picture: int
    predicted_cycles: int
    utilization: float
    accuracy_float: float | None
    accuracy_codebooks: float | None
    accuracy_engine: float | None
    samples_of_accuracy: int | None
    bytes_image: int
    bytes_float: int
    weights: str
    calibrated: str
    result_error: float
    error_bound: float | None

    def failures(self, first: str = "") -> list[str]:
        """What is not as it must be; `first` says where the first mismatch is."""
        found = []
        if self.mismatches:
            found.append(f"{self.mismatches:,} differ from the golden model, {first}")
        if self.cycles_per_picture != self.predicted_cycles:
            found.append(f"{self.cycles_per_picture:,} cycles, not {self.predicted_cycles:,}")
        if self.error_bound is not None and not self.result_error <= self.error_bound:
            found.append(
                f"results differ from the float network's by {self.result_error:.2%}, "
                f"more than {self.error_bound:.0%}"
            )
        return [f"{self.name}: {text}" for text in found]


HEAD = (
    "network",
    "weights",
    "bits",
    "pictures",
    "outputs",
    "differ",
    "cycles",
    "lanes used",
    "float",
    "codebooks",
    "engine",
    "samples",
    "error",
    "image",
    "in float",
)


def networks_table(rows: Sequence[Row]) -> str:
    """All rows for a terminal."""
    return table(HEAD, [row_cells(row) for row in rows])


def row_cells(row: Row) -> list[str]:
    """A row's cells under `HEAD`."""
    return [
        row.name,
        row.weights,
        str(row.bits),
        f"{row.pictures:,}",
        f"{row.outputs:,}",
        f"{row.mismatches:,}",
        f"{row.cycles_per_picture:,}",
        f"{row.utilization:.0%}",
        _percent(row.accuracy_float),
        _percent(row.accuracy_codebooks),
        _percent(row.accuracy_engine),
        "–" if row.samples_of_accuracy is None else f"{row.samples_of_accuracy:,}",
        f"{row.result_error:.1%}",
        f"{row.bytes_image:,}",
        f"{row.bytes_float:,}",
    ]


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{value:.2f} %"
