"""What a network is compressed to: the configuration, and the plan that comes of it."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Collection, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any, Literal, get_args

from dpnet.model.compression.ratios import StoredBytes
from dpnet.model.quantizer.quantized import INDEX_LIMIT, Quantized, check_k

DEFAULT_K = 16
OnExpand = Literal["share", "skip", "error"]


@dataclass(frozen=True)
class CompressConfig:
    """How `dpnet.model.compression.network.compress_` treats the weights of a net.

    Weights and layers go by any of their names in the net: ``"fc.weight"`` or ``"fc"``, and
    where layers share a weight by that of each.

    Parameters
    ----------
    k : centroids per codebook, 16 unless given: a number, or one by name, where ``"*"`` stands
        for all others; without a ``"*"`` these stay as they are.
    bits : the same as bits of an index, k = 2 ** bits; not together with `k`
    include, exclude : regular expressions; a weight is compressed if one of its names has a match
        of `include` and none of `exclude`
    rows_per_codebook : how many consecutive rows share a codebook, or ``"all"``. Where it does not
        divide the rows, the next number that does.
    norm : 2 for squared errors, 1 for absolute ones
    zero : a centroid of each codebook is exactly 0: always, never, or where ("auto") its rows
        have an exact 0, so that what is pruned stays pruned. Under a pruning mask always.
    sensitivity : how much each weight counts, by name, in a shape that broadcasts to the weight's;
        see `dpnet.model.compression.sensitivity`. Codebooks whose weights all have 0 are solved
        without.
    on_expand : where a layer would not get smaller, share a codebook among as few rows as make it
        smaller (left as it is if none do), leave it as it is, or raise `ExpansionError`
    byte_budget : for the whole net, as `ratios.stored_bytes` counts it: K is chosen out
        of `choices`, for each layer or each codebook (`per`), for the least total error. Not
        together with `k` or `bits`. A codebook with a K of its own takes a byte more.
    """

    k: int | Mapping[str, int] | None = None
    bits: int | Mapping[str, int] | None = None
    include: str = ""
    exclude: str | None = None
    rows_per_codebook: int | Literal["all"] = 1
    norm: int = 2
    zero: bool | Literal["auto"] = "auto"
    sensitivity: Mapping[str, Any] | None = field(default=None, compare=False)
    on_expand: OnExpand = "share"
    byte_budget: int | None = None
    per: Literal["layer", "codebook"] = "layer"
    choices: tuple[int, ...] = (2, 4, 8, 16)

    def __post_init__(self) -> None:
        sizes = [n for n in ("k", "bits", "byte_budget") if getattr(self, n) is not None]
        if len(sizes) > 1:
            raise ValueError(f"config must have one of k, bits and byte_budget, not {sizes!r}")
        for name in ("include", "exclude"):
            _check_pattern(name, getattr(self, name))
        every = self.rows_per_codebook
        if every != "all" and (isinstance(every, bool) or not isinstance(every, int) or every < 1):
            raise ValueError(f"rows_per_codebook must be 1 or more or 'all', not {every!r}")
        if self.norm not in (1, 2):
            raise ValueError(f"norm must be 1 or 2, not {self.norm!r}")
        if self.zero not in (True, False, "auto"):
            raise ValueError(f"zero must be True, False or 'auto', not {self.zero!r}")
        if self.on_expand not in get_args(OnExpand):
            known = get_args(OnExpand)
            raise ValueError(f"on_expand must be one of {known}, not {self.on_expand!r}")
        if self.per not in ("layer", "codebook"):
            raise ValueError(f"per must be 'layer' or 'codebook', not {self.per!r}")
        if not self.choices or list(self.choices) != sorted(set(map(check_any_k, self.choices))):
            raise ValueError(f"choices must be ascending and different, not {self.choices!r}")
        for size in self.by_name.values():
            check_any_k(size)
        bytes_ = self.byte_budget
        if bytes_ is not None and (isinstance(bytes_, bool) or not isinstance(bytes_, int)):
            raise TypeError(f"byte_budget must be an integer, not {bytes_!r}")

    @property
    def by_name(self) -> dict[str, int]:
        """K by name, "*" for all others; empty with a budget."""
        if self.byte_budget is not None:
            return {}
        if self.bits is None:
            given = DEFAULT_K if self.k is None else self.k
            return dict(given) if isinstance(given, Mapping) else {"*": given}
        bits = dict(self.bits) if isinstance(self.bits, Mapping) else {"*": self.bits}
        for value in bits.values():
            if isinstance(value, bool) or not isinstance(value, int) or not 1 <= value <= 16:
                raise ValueError(f"bits must be an integer from 1 to 16, not {value!r}")
        return {name: 1 << value for name, value in bits.items()}

    def left_out(self, names: Collection[str]) -> str:
        """Why the weight of these names is left as it is, "" if it is compressed."""
        if not any(re.search(self.include, name) for name in names):
            return f"not included by {self.include!r}"
        if self.exclude is not None and any(re.search(self.exclude, name) for name in names):
            return f"excluded by {self.exclude!r}"
        if self.byte_budget is None and self.k_of(names) is None:
            return "no K for it"
        return ""

    def k_of(self, names: Collection[str]) -> int | None:
        """K of the weight of these names."""
        by_name = self.by_name
        return next((by_name[n] for n in names if n in by_name), by_name.get("*"))


def check_any_k(k: int) -> int:
    """`k` up to what indices can tell apart; raises as `quantized.check_k`."""
    return check_k(k, INDEX_LIMIT)


def _check_pattern(name: str, pattern: str | None) -> None:
    try:
        re.compile(pattern or "")
    except re.error as error:
        raise ValueError(
            f"{name} must be a regular expression, not {pattern!r}: {error}"
        ) from error


@dataclass(frozen=True)
class LayerPlan:
    """One weight: `k` and `codebooks` are 0 where it is left as it is.

    `k` is the widest of its codebooks, `least_k` the narrowest. Bytes are those of
    `ratios.stored_bytes`. `relative_error` is ``|W - Q| / |W|``, None where nothing
    was solved. `names` are all by which the weight can be called.
    """

    name: str
    shape: tuple[int, ...]
    rows: int
    n: int
    k: int
    least_k: int
    codebooks: int
    index_bytes: int
    codebook_bytes: int
    fp32_bytes: int
    relative_error: float | None
    decision: str
    names: tuple[str, ...] = ()

    @property
    def stored_bytes(self) -> int:
        """Of indices and codebooks, or of the weight as it is."""
        return self.index_bytes + self.codebook_bytes if self.k else self.fp32_bytes

    @property
    def ratio(self) -> float:
        """fp32 bytes per stored byte."""
        return self.fp32_bytes / self.stored_bytes if self.stored_bytes else math.nan


@dataclass(frozen=True)
class Plan:
    """Every matrix of a net, compressed or not, and the bytes of all of it.

    `quantized`, by weight name, has a row of indices for each codebook, in the order of
    `dpnet.model.compression.groups.RowForm.to_rows`; `matrices` has a codebook for each row and
    the shape with the outputs first, as `dpnet.model.compile.compile_fp32` takes them, with equal
    codebooks where rows share one. Both are empty after a dry run.
    """

    layers: tuple[LayerPlan, ...]
    total: StoredBytes
    quantized: Mapping[str, Quantized] = field(default_factory=dict, compare=False, repr=False)
    matrices: Mapping[str, tuple[Quantized, tuple[int, ...]]] = field(
        default_factory=dict, compare=False, repr=False
    )

    def __getitem__(self, name: str) -> LayerPlan:
        """The weight of this name, or of this layer; KeyError where the net has none."""
        for layer in self.layers:
            if name == layer.name or name in layer.names:
                return layer
        raise KeyError(name)

    def to_json(self) -> str:
        """The plan without the weights, one JSON document."""
        layers = [
            asdict(layer) | {"stored_bytes": layer.stored_bytes, "ratio": layer.ratio}
            for layer in self.layers
        ]
        total = asdict(self.total) | {"total": self.total.total, "ratio": self.total.ratio}
        return json.dumps({"layers": layers, "total": total}, indent=2, allow_nan=False)

    def __str__(self) -> str:
        head = ("weight", "shape", "K", "codebooks", "fp32", "stored", "ratio", "error", "decision")
        cells = [head, *map(_cells, self.layers)]
        widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
        left = (0, 1, len(head) - 1)
        lines = [
            "  ".join(
                cell.ljust(width) if column in left else cell.rjust(width)
                for column, (cell, width) in enumerate(zip(row, widths, strict=True))
            ).rstrip()
            for row in cells
        ]
        lines.insert(1, "─" * max(map(len, lines)))
        total = self.total
        return "\n".join(
            [
                *lines,
                "",
                f"{total.fp32:,} bytes in fp32, {total.total:,} stored: "
                f"{total.indices:,} of indices, "
                f"{total.codebooks:,} of codebooks, {total.other:,} of all else; ratio "
                f"{total.ratio:.2f}",
            ]
        )


def _cells(layer: LayerPlan) -> tuple[str, ...]:
    k = str(layer.k) if layer.least_k == layer.k else f"{layer.least_k}…{layer.k}"
    error = "" if layer.relative_error is None else f"{layer.relative_error:.2e}"
    return (
        layer.name,
        " × ".join(map(str, layer.shape)),
        k if layer.k else "–",
        f"{layer.codebooks:,}" if layer.k else "–",
        f"{layer.fp32_bytes:,}",
        f"{layer.stored_bytes:,}",
        f"{layer.ratio:.2f}",
        error,
        layer.decision,
    )
