"""A whole network on an engine, on real numbers: `engine.load(image).run(pictures)`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.host.maps.session import MapSession
from dpnet.host.segments import Progress
from dpnet.model.image import ImageError
from dpnet.model.maps.calibration.pictures import PictureError, to_integers
from dpnet.model.maps.outputs import predicted, real

__all__ = ["LoadedNetwork", "NetworkResult"]

Integers = NDArray[np.int64]


@dataclass(frozen=True, eq=False)
class NetworkResult:
    """What a run gave.

    `outputs` (n, …) as the user's network gives them, float64; `classes` (n,) of a network that
    gives a vector, else None; `cycles` (n,) as the engine counted them for the run that a picture
    was in, alone or `in_flight` with up to so many, `predicted_cycles` of a run of all of these by
    the formula; `saturated_inputs`, the share, 0 to 1, of values beyond what the network was
    calibrated for: they were cut off there.
    """

    outputs: NDArray[np.float64]
    classes: Integers | None
    cycles: Integers
    predicted_cycles: int
    saturated_inputs: float
    in_flight: int = 1


class LoadedNetwork:
    """A whole network on an engine.  Members: `image`; `session`; `result`, of the last `run`, or
    None.

    Methods raise `LinkError`s, and `ImageError` for pictures that are none.
    """

    def __init__(self, session: MapSession) -> None:
        self.session, self.image = session, session.image
        self.result: NetworkResult | None = None

    def run(self, x: Any, progress: Progress | None = None) -> NDArray[np.float64]:
        """Real pictures x (n, …), array or tensor, to what the user's network gives.

        They are rounded to the network's steps; `result` tells how much was cut off.  The next
        picture is written while one is computed.  `progress` is called with pictures done, and all.
        """
        network = self.image.network
        try:
            pictures = self.image.pictures("the pictures", x)
        except PictureError as error:
            raise ImageError(str(error)) from error
        integers, beyond = to_integers(pictures, network)
        values, cycles = self.session.run_batch(integers, progress)
        vector = self.image.classes is not None
        self.result = NetworkResult(
            self.image.outputs(values),
            predicted(real(network, values)) if vector else None,
            cycles,
            self.session.cycles,
            beyond / pictures.size,
            self.session.most,
        )
        return self.result.outputs
