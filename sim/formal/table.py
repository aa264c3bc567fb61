"""All proofs and all planted bugs."""

from __future__ import annotations

from dpnet.sim.formal.bugs import BUGS
from dpnet.sim.formal.proof import Bug, Proof
from dpnet.sim.formal.proofs import (
    abort,
    axi,
    axi3,
    axi3_burst,
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
    *cobs.PROOFS,
    *receiver.PROOFS,
    *checker.PROOFS,
    *responder.PROOFS,
    *loader.PROOFS,
    *fifo.PROOFS,
    *axi.PROOFS,
    *axi3_burst.PROOFS,
    *axi3.PROOFS,
    *uart.PROOFS,
    *drain.PROOFS,
    *abort.PROOFS,
)

__all__ = ["BUGS", "PROOFS", "Bug", "Proof"]
