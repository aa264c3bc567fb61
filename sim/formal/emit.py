"""The RTLIL of a proof, in a process of its own: a planted bug's copy of the tree runs this.

python -m dpnet.sim.formal.emit PROOF [PROPERTY]
"""

from __future__ import annotations

import sys

from dpnet.sim.formal.table import PROOFS


def main(arguments: list[str]) -> int:
    """Print the RTLIL of a proof; with a property, only this one is asserted."""
    name, *only = arguments
    proof = {proof.name: proof for proof in PROOFS}[name]
    sys.stdout.write(proof.build(only=only[0] if only else None).rtlil())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
