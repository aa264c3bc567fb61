"""Every map of a network on an engine beside the golden model."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.host.maps.by_pass import run_by_pass
from dpnet.host.maps.session import MapSession
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.maps.golden import compute

__all__ = ["Compared", "compare"]


@dataclass(frozen=True, kw_only=True)
class Compared:
    """What an engine gave: of `pictures` in one run each the results, and pass by pass every map;
    `mismatches` of all `values` differ from the golden model.

    `cycles` of a picture as the engine counted them, `predicted` by the formula; `late` runs of
    pictures or passes took other cycles than the formula has for them.
    """

    engine: MapEngineParameters
    pictures: int
    values: int
    mismatches: int
    cycles: int
    predicted: int
    late: int


def compare(
    session: MapSession,
    pictures: NDArray[Any],
    progress: Callable[[int, int], None] | None = None,
) -> Compared:
    """Run integers (N, C, H, W) of the network's first tensor on the engine of a session that has
    loaded it.  `progress` is called with the pictures done, and all.  Errors as those of
    `MapSession`."""
    network = session.image.network
    values, cycles = session.run_batch(pictures)
    wanted = compute(network, np.asarray(pictures))
    count, wrong = values.size, int((values != wanted[network.output]).sum())
    late = int((cycles != [run.predicted for run in session.runs_of(len(values))]).sum())
    for n, picture in enumerate(pictures):
        for run in run_by_pass(session, picture):
            late += run.cycles != run.predicted
            if run.values is not None:
                count += run.values.size
                wrong += int((run.values != wanted[run.name][n]).sum())
        if progress is not None:
            progress(n + 1, len(pictures))
    return Compared(
        engine=session.engine,
        pictures=len(pictures),
        values=count,
        mismatches=wrong,
        cycles=int(cycles.max()),
        predicted=session.cycles,
        late=late,
    )
