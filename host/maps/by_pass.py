"""A picture through a network pass by pass: every map between, read back from the engine."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import Region
from dpnet.host.maps.halves import picture_address, result_address
from dpnet.host.maps.session import SLACK_S, MapSession
from dpnet.model.engine.maps.layout.steps import Key
from dpnet.model.engine.maps.parameters import START_CYCLES
from dpnet.model.image import ImageError

__all__ = ["PassRun", "run_by_pass"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class PassRun:
    """One pass, run by itself: `cycles` as the engine counted them, `predicted` by the formula.
    `values` (C, H, W) of the tensor that `name` names, in one of its forms, if this was the last
    pass that writes it there, else None."""

    layer: str
    name: str
    values: Integers | None
    cycles: int
    predicted: int


def run_by_pass(session: MapSession, picture: NDArray[Any]) -> Iterator[PassRun]:
    """Run a picture, integers (C, H, W) of the network's first tensor, a pass at a time, on the
    first half of a session's engine that has its network.

    A pass by itself takes START_CYCLES more than in a run of all.  Raises `LinkError`s, and
    `ImageError` for a picture that is none.
    """
    placed, driver = session.placement, session.driver
    passes = placed.plan.passes
    try:
        words = placed.picture_words(picture)
    except ValueError as error:
        raise ImageError(str(error)) from error
    driver.write_words(picture_address(session.engine, 0), words)
    lasts = {one.write: n for n, one in enumerate(passes)}
    for n, one in enumerate(passes):
        predicted = START_CYCLES + one.wait + one.schedule.written - placed.plan.fewer(1)
        patience_s = 2 * predicted / session.clock_hz + SLACK_S
        report = driver.finish(driver.start(n, n), f"pass {n}", patience_s)
        values = _written(session, one.write) if lasts[one.write] == n else None
        yield PassRun(one.work.layer.name, one.write[0], values, report.cycles, predicted)


def _written(session: MapSession, key: Key) -> Integers:
    """A tensor in one of its forms as the engine has it: among the maps, or the results."""
    placed, driver = session.placement, session.driver
    if key not in placed.bases:
        words = driver.read_words(result_address(session.engine, 0), placed.result_words)
        driver.check_results()
        return placed.results(words)
    first, end = placed.map_range(key)
    words = np.zeros(placed.map_words, np.uint32)
    words[first:end] = driver.read_words(Region.MAPS.base + 4 * first, end - first)
    return placed.map(key, words)
