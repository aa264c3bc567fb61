"""Where data sets and published weights lie (standard library only).

`DPNET_DATA` names a folder of the user's that has, as far as it is needed,

    MNIST/raw/              train-images-idx3-ubyte, train-labels-idx1-ubyte, t10k-…, also with .gz
    cifar-10-batches-bin/   data_batch_1.bin … data_batch_5.bin, test_batch.bin
    mlperf-tiny/            kws_test.npz, samples.npz, and a .json and a .safetensors per network
    resnet-cifar10/         resnet20-….th, resnet32-….th, resnet56-….th

the first two as their own sites and torchvision lay them out.  The last two may be in another
folder: `DPNET_WEIGHTS` names it.  Nothing is ever downloaded.
"""

from __future__ import annotations

import os
from pathlib import Path

DATA = "DPNET_DATA"
WEIGHTS = "DPNET_WEIGHTS"


class DataError(ValueError):
    """Data that are missing or not what they should be: which, where, what to do, in one line."""


class MissingDataError(DataError):
    """Data that are not there."""


def data_folder() -> Path:
    """The folder of the data sets; `DataError` where `DPNET_DATA` names none."""
    return _folder(DATA, "MNIST/raw/ and cifar-10-batches-bin/")


def weights_folder() -> Path:
    """The folder of the published weights, `DPNET_WEIGHTS`, else `DPNET_DATA`."""
    name = WEIGHTS if os.environ.get(WEIGHTS) else DATA
    return _folder(name, "mlperf-tiny/ and resnet-cifar10/")


def _folder(variable: str, content: str) -> Path:
    said = os.environ.get(variable)
    if not said:
        raise MissingDataError(f"{variable} must name the folder that has {content}; it is not set")
    folder = Path(said).expanduser()
    if not folder.is_dir():
        raise DataError(f"{variable} must name a folder that has {content}, not {said!r}")
    return folder


def needed(path: Path, what: str) -> Path:
    """`path`, or a `MissingDataError` that says so and what should be there."""
    if not path.exists():
        raise MissingDataError(f"{path} is missing: {what}")
    return path
