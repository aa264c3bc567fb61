"""All proofs and all planted bugs."""

from __future__ import annotations

from sim.formal.bugs import BUGS
from sim.formal.proof import Bug, Proof
from sim.formal.proofs import (
    axi,
    checker,
    cobs,
    drain,
    fifo,
    loader,
    receiver,
    responder,
    uart,
)

PROOFS: tuple[Proof, ...] = (
    *cobs.PROOFS, *receiver.PROOFS, *checker.PROOFS, *responder.PROOFS, *loader.PROOFS,
    *fifo.PROOFS, *axi.PROOFS, *uart.PROOFS, *drain.PROOFS,
)  # fmt: skip

__all__ = ["BUGS", "PROOFS", "Bug", "Proof"]
