"""Write the Verilog of an engine, for a flow of your own.

python -m dpnet.gateware --door axi --stages 8 --columns 16 --segments 2 --out engine.sv
python -m dpnet.gateware maps --door axi --clusters 2 --stages 8 --out engine.sv
"""

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.gateware.__main__", "gateware"))

import argparse
from pathlib import Path

from dpnet.gateware.emit import emit
from dpnet.gateware.top import DOORS, Top
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EDGES, EngineParameters

ENGINES = {"array": EngineParameters, "maps": MapEngineParameters}
CHOICES = {"edges": EDGES, "storage": ("block", "distributed")}


def main(arguments=None):
    """The command; 0, or 2 for wrong sizes or a file that cannot be written."""
    given = list(sys.argv[1:] if arguments is None else arguments)
    name = given.pop(0) if given and given[0] in ENGINES else "array"
    options = vars(_parser(name).parse_args(given))
    top = {name: options.pop(name) for name in ("door", "baud", "clock_hz")}
    out = options.pop("out")
    try:
        text = emit(Top(params=ENGINES[name](**options), **top), "dpnet")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except (ValueError, OSError) as error:
        print(f"gateware: {error}", file=sys.stderr)
        return 2
    print(f"{out}: module dpnet, {text.count(chr(10)):,} lines of Verilog")
    return 0


def _parser(engine):
    """Options of an engine of this name, which is the command's first word: array is the usual."""
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.gateware" + (f" {engine}" if engine != "array" else ""),
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=f"The first word may be {' or '.join(ENGINES)}; these are the sizes of {engine}.",
    )
    parser.add_argument("--door", choices=DOORS, default="axi", help="front door (axi)")
    for name, value in vars(ENGINES[engine]()).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=value, help=name
            )
            continue
        parser.add_argument(
            option,
            type=type(value),
            choices=CHOICES.get(name),
            default=value,
            help=f"{name} ({value})",
        )
    parser.add_argument("--baud", type=int, default=3_000_000, help="of the UART door (3000000)")
    parser.add_argument(
        "--clock-hz", type=int, default=100_000_000, help="the engine's clock (100000000)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    return parser
