"""One product on the dense core, measured; `dpnet.sim.measure.dense.run_dense` reads the report.

Values: `params`, `rows`, `columns`, `vectors`, `seed`, `report` (a path).
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cocotb
import numpy as np

from dpnet.model.engine.dense import DenseParameters
from dpnet.sim.benches.baselines.dense_core import DenseDriver
from dpnet.sim.kit.bench import parameters
from dpnet.sim.kit.streams import start
from dpnet.sim.measure.dense import random_case


@cocotb.test(timeout_time=1, timeout_unit="sec")
async def measure(dut: Any) -> None:
    """One vector, then all of them back to back: cycles, and results against golden."""
    values = parameters()
    case = random_case(
        np.random.default_rng(values["seed"]),
        DenseParameters(**values["params"]),
        values["rows"],
        values["columns"],
        values["vectors"],
    )
    driver = DenseDriver(dut)
    await start(dut)
    await driver.write(case.stores())
    cycles = [await driver.run(case, vectors) for vectors in (1, values["vectors"])]
    results, mismatches = await driver.mismatches(case)
    report = {"cycles": cycles, "results": results, "mismatches": mismatches}
    Path(values["report"]).write_text(json.dumps(report))
