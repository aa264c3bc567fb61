"""Engines by name: those that fill a chip, and the ones that tests and tables speak of."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

from dpnet.model.engine.dense import DenseParameters
from dpnet.model.engine.parameters import EngineParameters

K = 16


@dataclass(frozen=True)
class Configuration:
    """An engine, and the matrix of Table VI that it was sized for."""

    engine: EngineParameters
    rows: int
    columns: int

    def __post_init__(self) -> None:
        engine, tiles = self.engine, self.engine.tiles(self.rows)
        for what, needed, there in (
            ("slots", tiles * engine.stages, min(engine.slots, engine.result_slots)),
            ("index words a lane", tiles * engine.beats(self.columns), engine.index_depth),
            ("words of a vector", self.columns, min(engine.vector_words, engine.max_columns)),
        ):
            if needed > there:
                raise ValueError(
                    f"{self.rows} × {self.columns} needs {needed} {what}, the engine has {there}"
                )

    @property
    def activation(self) -> str:
        return "fp32" if self.engine.fp32 else "int8"

    @property
    def latency_cycles(self) -> int:
        """Predicted cycles of one product, from its start to the last result in the buffer."""
        fp32 = self.engine.fp32
        return 1 + self.engine.layer_cycles(self.rows, self.columns, K, fp32_in=fp32, fp32_out=fp32)

    @property
    def interval_cycles(self) -> int:
        """Predicted cycles from one product to the next, vectors back to back."""
        return self.engine.interval_cycles(self.rows, self.columns, K, fp32_in=self.engine.fp32)


def _fp32(**sizes: Any) -> EngineParameters:
    return EngineParameters(
        activation_bits=24, index_depth=496, layers=8, edges="fp32", packed=False, **sizes
    )


def _int8(**sizes: Any) -> EngineParameters:
    return EngineParameters(
        activation_bits=8,
        entry_bits=16,
        index_depth=496,
        layers=8,
        edges="integer",
        row_beats=1,
        packed=False,
        **sizes,
    )


ARRAYS = {
    "fp32-1000x1024": Configuration(
        _fp32(stages=4, columns=125, segments=6, max_columns=1024, slots=8, result_slots=64,
              vector_words=9216, row_beats=32, dsp_columns=125, lockstep=True),
        1000, 1024,
    ),
    "fp32-384x1728": Configuration(
        _fp32(stages=4, columns=96, segments=8, max_columns=2048, slots=4, result_slots=32,
              vector_words=16384, row_beats=64, dsp_columns=96),
        384, 1728,
    ),
    "int8-1000x1024": Configuration(
        _int8(stages=2, columns=250, segments=10, max_columns=1024, slots=4, result_slots=32,
              vector_words=8240, dsp_columns=250, bank=10),
        1000, 1024,
    ),
    "int8-384x1728": Configuration(
        _int8(stages=3, columns=128, segments=12, max_columns=2048, slots=3, result_slots=24,
              vector_words=13824, lockstep=True),
        384, 1728,
    ),
}  # fmt: skip
"""Arrays that fill an XC7Z045, each for one matrix of the paper's Table VI at K = 16; any other
matrix that fits their stores runs on them too.  Lockstep where the LUTs allow it."""

LEAN = {
    "int8-1000x1024-lean": Configuration(
        _int8(
            stages=4,
            columns=125,
            segments=10,
            max_columns=1024,
            slots=8,
            result_slots=64,
            vector_words=8240,
            lockstep=True,
        ),
        1000,
        1024,
    ),
}
"""As wide, with all adders in LUTs: a fifth of the DSP slices for 38 cycles more."""

SMALL = {
    "small-fp32": Configuration(
        _fp32(stages=2, columns=5, segments=3, max_columns=512, slots=12, result_slots=64,
              vector_words=1200, row_beats=4, dsp_columns=2),
        23, 50,
    ),
    "small-int8": Configuration(
        _int8(stages=3, columns=10, segments=4, max_columns=1024, slots=12, result_slots=64,
              vector_words=1200, bank=4),
        50, 61,
    ),
}  # fmt: skip
SMALL |= {
    f"{name}-lockstep": replace(made, engine=replace(made.engine, lockstep=True))
    for name, made in SMALL.items()
}
"""The same in seconds, for tests; and once more with all that can be checked."""

ECP5 = {
    "fp32-16": Configuration(
        _fp32(stages=1, columns=8, segments=2, max_columns=1024, slots=8, result_slots=32,
              vector_words=2048, multiplier="18x18"),
        24, 256,
    ),
    "int8-64": Configuration(
        _int8(stages=2, columns=8, segments=4, max_columns=1024, slots=8, result_slots=32,
              vector_words=2048, multiplier="18x18"),
        48, 256,
    ),
}  # fmt: skip
"""Engines for the LFE5U-85F, with everything that an engine has, placed and routed in minutes."""

DENSE = DenseParameters()
"""The dense int8 engine that fills the XC7Z045's DSP slices and is best for both matrices."""

PLANNED = {
    "fp32-4x24x4": _fp32(
        stages=4, columns=24, segments=4, max_columns=1024, slots=16, result_slots=64,
        vector_words=4096, row_beats=16, dsp_columns=12,
    ),
    "fp32-2x48x6": _fp32(
        stages=2, columns=48, segments=6, max_columns=2048, slots=8, result_slots=24,
        vector_words=8192, row_beats=64,
    ),
    "int8-2x40x8": _int8(
        stages=2, columns=40, segments=8, max_columns=1024, slots=16, result_slots=64,
        vector_words=4096, bank=8, dsp_columns=40,
    ),
    "int8-1x12x12": EngineParameters(
        stages=1, columns=12, segments=12, index_bits=3, activation_bits=8, entry_bits=16,
        max_columns=4096, index_depth=1008, slots=64, result_slots=64, vector_words=2048, layers=8,
        bank=8, row_beats=1, dsp_columns=12, edges="integer",
    ),
    "both-6x12x2": EngineParameters(
        stages=6, columns=12, segments=2, index_bits=3, activation_bits=16, entry_bits=12,
        max_columns=512, index_depth=2048, slots=128, result_slots=128, vector_words=2048,
        row_beats=8, bank=4,
    ),
    "int8-2x4x2": _int8(
        stages=2, columns=4, segments=2, max_columns=64, slots=12, result_slots=16,
        vector_words=256, bank=4,
    ),
}  # fmt: skip
"""Engines that differ in every size, stages × columns × segments: `dpnet.model.engine.estimate` is
compared with Yosys on them, as on `ARRAYS` and `SMALL`; the last one is synthesized in seconds."""
