"""Write the Verilog of an engine, for a flow of your own.

python -m dpnet.gateware --door axi --stages 8 --columns 16 --segments 2 --out engine.sv
"""

import sys

if __name__ == "__main__":  # first: what follows may be missing, or interrupted
    from dpnet.launch import launch

    sys.exit(launch("dpnet.gateware.__main__", "gateware"))

import argparse
from pathlib import Path

from dpnet.gateware.emit import emit
from dpnet.gateware.top import DOORS, Top
from dpnet.model.engine.parameters import EDGES, EngineParameters


def main(arguments=None):
    """The command; 0, or 2 for wrong sizes or a file that cannot be written."""
    default = EngineParameters()
    parser = argparse.ArgumentParser(
        prog="python -m dpnet.gateware",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--door", choices=DOORS, default="axi", help="front door (axi)")
    choices = {"edges": EDGES, "storage": ("block", "distributed")}
    for name, value in vars(default).items():
        option = f"--{name.replace('_', '-')}"
        if isinstance(value, bool):
            parser.add_argument(
                option, action=argparse.BooleanOptionalAction, default=value, help=name
            )
            continue
        parser.add_argument(
            option,
            type=type(value),
            choices=choices.get(name),
            default=value,
            help=f"{name} ({value})",
        )
    parser.add_argument("--baud", type=int, default=3_000_000, help="of the UART door (3000000)")
    parser.add_argument(
        "--clock-hz", type=int, default=100_000_000, help="the engine's clock (100000000)"
    )
    parser.add_argument("--out", type=Path, required=True, metavar="FILE")
    options = vars(parser.parse_args(arguments))
    given = {name: options.pop(name) for name in ("door", "baud", "clock_hz")}
    out = options.pop("out")
    try:
        text = emit(Top(params=EngineParameters(**options), **given), "dpnet")
        out.parent.mkdir(parents=True, exist_ok=True)
        out.write_text(text)
    except (ValueError, OSError) as error:
        print(f"gateware: {error}", file=sys.stderr)
        return 2
    print(f"{out}: module dpnet, {text.count(chr(10)):,} lines of Verilog")
    return 0
