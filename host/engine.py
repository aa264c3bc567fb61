"""An engine in three lines: connect, load an image, run it on real numbers.

with dpnet.connect("sim://array") as engine:
    net = engine.load("net.dpnet")
    logits = net.run(pictures)
print(net.result.cycles[0], net.result.saturated_inputs)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from types import TracebackType
from typing import Any, overload

import numpy as np
from numpy.typing import NDArray

from dpnet.host.driver import Driver
from dpnet.host.maps.loaded import LoadedNetwork
from dpnet.host.maps.session import MapSession, map_parameters
from dpnet.host.segments import Progress
from dpnet.host.session import Parameters, Session, parameters
from dpnet.host.session import connect as connect_driver
from dpnet.model.image import Image, ImageError
from dpnet.model.image.either import read_image
from dpnet.model.image.inputs import finite, fp32
from dpnet.model.image.maps import MapImage

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class Result:
    """What a run gave.

    `outputs` (n, R): of an integer network logits, float64; of a matrix its products, float32.
    `cycles` (n,): as the engine counted them, `stalled` of which passed waiting for tiles.
    `predicted_cycles`: of one input by the formula, without those.  `saturated_inputs`: the share,
    0 to 1, of input values beyond `Image.largest_input`, which the network was calibrated for: they
    were cut off there.  `at_limits`: the share of the layers' results that are at an end of their
    range, where larger ones are cut off.
    """

    outputs: NDArray[np.floating[Any]]
    cycles: Integers
    stalled: Integers
    predicted_cycles: int
    saturated_inputs: float
    at_limits: float

    @property
    def classes(self) -> Integers:
        """The index of the largest output of each input."""
        return np.asarray(np.argmax(self.outputs, axis=1), np.int64)


class LoadedImage:
    """An image on an engine.  Members: `image`; `session`; `result`, of the last `run`, or None.

    Methods raise `LinkError`s, and `ImageError` for inputs that are no rows of finite numbers.
    """

    def __init__(self, session: Session) -> None:
        self.session, self.image = session, session.image
        self.result: Result | None = None

    def run(self, x: Any, progress: Progress | None = None) -> NDArray[np.floating[Any]]:
        """Real inputs x (n, C), array or tensor, to real outputs (n, R); (C,) is one row.

        An integer network rounds them to its steps and cuts off what it was not calibrated for;
        `result` tells how much that was.  `progress` is called with inputs done and all inputs.
        """
        columns = self.image.layers[0].columns
        rows = finite(x, "the input")
        rows = rows[None] if rows.ndim == 1 else rows
        if rows.ndim != 2 or rows.shape[1] != columns or not len(rows):
            raise ImageError(f"the input must be rows of {columns} values, not {rows.shape}")
        self.result = (
            self._matrix(rows, progress) if self.image.is_fp32 else self._net(rows, progress)
        )
        return self.result.outputs

    def _net(self, rows: NDArray[np.float64], progress: Progress | None) -> Result:
        image, outputs, ends = self.image, [], []
        cycles, stalled = [], []
        for done, x in enumerate(image.quantize_input(rows), 1):
            found, count = self.session.run_network(x)
            outputs.append(found[-1])
            ends.append(at_limits(image, found))
            cycles.append(count)
            stalled.append(self.session.report.stalled)
            if progress is not None:
                progress(done, len(rows))
        return Result(
            np.array(outputs) * image.output_scale,
            np.array(cycles),
            np.array(stalled),
            self.session.predicted_cycles(0, len(image.layers) - 1),
            image.saturated_inputs(rows),
            float(np.mean(ends)),
        )

    def _matrix(self, rows: NDArray[np.float64], progress: Progress | None) -> Result:
        outputs, cycles, stalled = [], [], []
        for done, x in enumerate(fp32(rows, "the input"), 1):
            found, count = self.session.run_layer(0, x)
            outputs.append(found)
            cycles.append(count)
            stalled.append(self.session.report.stalled)
            if progress is not None:
                progress(done, len(rows))
        predicted = self.session.predicted_cycles(0, 0)
        return Result(np.array(outputs), np.array(cycles), np.array(stalled), predicted, 0.0, 0.0)


class Engine:
    """An engine behind a link; a context manager that closes the port.

    Members: `driver`, `parameters`.  Methods raise `LinkError`s.
    """

    def __init__(self, driver: Driver) -> None:
        self.driver = driver

    def __enter__(self) -> Engine:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def close(self) -> None:
        """Give the port back; twice is harmless."""
        self.driver.link.transport.close()

    @property
    def parameters(self) -> Parameters:
        """What the engine was built from."""
        return parameters(self.driver.identify())

    @overload
    def load(
        self,
        image: MapImage,
        *,
        layer: None = None,
        in_flight: bool = False,
        progress: Progress | None = None,
    ) -> LoadedNetwork: ...
    @overload
    def load(
        self, image: Image, *, layer: str | None = None, progress: Progress | None = None
    ) -> LoadedImage: ...
    @overload
    def load(
        self,
        image: str | Path,
        *,
        layer: str | None = None,
        in_flight: bool = False,
        progress: Progress | None = None,
    ) -> Any: ...
    def load(
        self,
        image: Image | MapImage | str | Path,
        *,
        layer: str | None = None,
        in_flight: bool = False,
        progress: Progress | None = None,
    ) -> Any:
        """Make the engine hold `image`, or the image in that file: a `LoadedImage` of an `Image`, a
        `LoadedNetwork` of a `MapImage`.  Of fp32 matrices, of which one is loaded, `layer` names
        it; a network runs a picture at a time, or `in_flight` one in each stage of the engine at
        once.  `CapacityError` where the engine is too small, with one that is not, or of another
        kind; `ImageError` for a file that is none, and for a layer that it has not.
        """
        chosen = image if isinstance(image, (Image, MapImage)) else read_image(image)
        if isinstance(chosen, MapImage):
            return self._network(chosen, layer, in_flight, progress)
        if in_flight:
            raise ImageError("pictures in flight are for whole networks on a map engine")
        session = Session(self.driver, of_layer(chosen, layer))
        session.load(progress)
        return LoadedImage(session)

    def _network(
        self, image: MapImage, layer: str | None, in_flight: bool, progress: Progress | None
    ) -> LoadedNetwork:
        if layer is not None:
            raise ImageError("layers are chosen of fp32 images; a whole network runs as one")
        engine = map_parameters(self.driver, image)
        session = MapSession(self.driver, image, engine, in_flight=in_flight)
        session.load(progress)
        return LoadedNetwork(session)


def of_layer(image: Image, name: str | None) -> Image:
    """`image`, or of one with fp32 matrices the matrix `name` alone, or the only one."""
    if not image.is_fp32:
        if name is not None:
            raise ImageError("layers are chosen of fp32 images; an integer network runs as a whole")
        return image
    names = [layer.name for layer in image.layers]
    listed = ", ".join(names[:8]) + (", …" if len(names) > 8 else "")
    if name is None and len(names) > 1:
        raise ImageError(f"the image holds {len(names)} matrices; choose a layer: {listed}")
    if name is not None and name not in names:
        raise ImageError(f"the image has no layer {name!r}; there are {listed}")
    return replace(image, layers=(image.layers[0 if name is None else names.index(name)],))


def at_limits(image: Image, results: Sequence[Integers]) -> float:
    """The share of the layers' results (one array per layer) at an end of their range."""
    ends = total = 0
    for layer, values in zip(image.layers, results, strict=True):
        high = (1 << layer.out_bits - 1) - 1
        ends += int(((values >= high) | (values < -high)).sum())
        total += values.size
    return ends / total


def connect(url: str) -> Engine:
    """The engine at `url`: sim://array, a serial port, socket://host:port, axi:uio0, …"""
    return Engine(connect_driver(url))
