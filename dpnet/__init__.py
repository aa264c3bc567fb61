"""Run a PyTorch network on an FPGA with almost no multipliers, and prove that it is right.

What people use is found here by its name and imported with its first use, so that `import dpnet`
takes no time, and a quantizer needs no PyTorch.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

from dpnet.extras import cure

if TYPE_CHECKING:
    from dpnet.host.engine import connect
    from dpnet.host.errors import LinkError
    from dpnet.model.coding.entropy import quantize_entropy, quantize_to_rate
    from dpnet.model.coding.files import read_coded, write_coded
    from dpnet.model.compile import CompileError
    from dpnet.model.compile.whole import compile_network as compile
    from dpnet.model.compression.network import compress_
    from dpnet.model.compression.plan import CompressConfig
    from dpnet.model.compression.sensitivity import activation_energy, fisher
    from dpnet.model.engine.maps.parameters import MapEngineParameters
    from dpnet.model.engine.parameters import EngineParameters
    from dpnet.model.image import Image, ImageError, write_image
    from dpnet.model.image.either import read_image
    from dpnet.model.image.maps import MapImage
    from dpnet.model.quantizer.estimator import OptimalKMeans1D
    from dpnet.model.quantizer.exact import quantize
    from dpnet.model.quantizer.quantized import Quantized, QuantizeError
    from dpnet.model.training.regularizer import ClusterRegularizer

    __version__: str

__all__ = [
    "ClusterRegularizer",
    "CompileError",
    "CompressConfig",
    "EngineParameters",
    "Image",
    "ImageError",
    "LinkError",
    "MapEngineParameters",
    "MapImage",
    "OptimalKMeans1D",
    "QuantizeError",
    "Quantized",
    "__version__",
    "activation_energy",
    "compile",
    "compress_",
    "connect",
    "fisher",
    "quantize",
    "quantize_entropy",
    "quantize_to_rate",
    "read_coded",
    "read_image",
    "write_coded",
    "write_image",
]

_PLACES = {
    "ClusterRegularizer": "dpnet.model.training.regularizer",
    "CompileError": "dpnet.model.compile",
    "CompressConfig": "dpnet.model.compression.plan",
    "EngineParameters": "dpnet.model.engine.parameters",
    "Image": "dpnet.model.image",
    "ImageError": "dpnet.model.image",
    "LinkError": "dpnet.host.errors",
    "MapEngineParameters": "dpnet.model.engine.maps.parameters",
    "MapImage": "dpnet.model.image.maps",
    "OptimalKMeans1D": "dpnet.model.quantizer.estimator",
    "QuantizeError": "dpnet.model.quantizer.quantized",
    "Quantized": "dpnet.model.quantizer.quantized",
    "activation_energy": "dpnet.model.compression.sensitivity",
    "compile": "dpnet.model.compile.whole:compile_network",
    "compress_": "dpnet.model.compression.network",
    "connect": "dpnet.host.engine",
    "fisher": "dpnet.model.compression.sensitivity",
    "quantize": "dpnet.model.quantizer.exact",
    "quantize_entropy": "dpnet.model.coding.entropy",
    "quantize_to_rate": "dpnet.model.coding.entropy",
    "read_coded": "dpnet.model.coding.files",
    "read_image": "dpnet.model.image.either",
    "write_coded": "dpnet.model.coding.files",
    "write_image": "dpnet.model.image",
}
"""Where each name is: its module, and what it is called there if that differs."""


def __getattr__(name: str) -> Any:
    """The name's object, from now on an attribute; `ImportError` names an extra that is missing."""
    if name == "__version__":
        value: Any = _version()
    elif name in _PLACES:
        value = _found(name)
    else:
        raise AttributeError(f"module 'dpnet' has no attribute {name!r}")
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})


def _found(name: str) -> Any:
    module, _, attribute = _PLACES[name].partition(":")
    try:
        return getattr(importlib.import_module(module), attribute or name)
    except ModuleNotFoundError as error:
        if lacking := cure(error, f"dpnet.{name}"):
            raise ImportError(lacking, name=error.name) from None
        raise


def _version() -> str:
    # Not at the top: it takes longer than everything else here.
    metadata = importlib.import_module("importlib.metadata")
    try:
        return str(metadata.version("dpnet"))
    except metadata.PackageNotFoundError:
        return "unknown"
