"""A request, what may answer it, and what a refusal of it means."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from dpnet.gateware.registers import RESPONSE, Operation, Status
from dpnet.host.errors import EngineError, ProtocolError
from dpnet.host.link.frames import Frame

_MEANINGS = {
    Status.BAD_OPERATION: "does not know this operation",
    Status.BAD_ADDRESS: "has nothing at this address, or not of this size; is the image for "
    "a larger one?",
    Status.STALE: "is not loading this image; was it reset, or does another program load it?",
    Status.BUSY: "is computing; wait for the end of the run",
    Status.NOT_VALID: "holds no valid image; load one first",
    Status.CHECK_FAILED: "reads back another image than was sent",
    Status.BAD_VALUE: "has a register there that does not take this value",
}


@dataclass(frozen=True)
class Request:
    """One request; `patience_s` is added to the deadline of an answer that takes long."""

    operation: Operation
    offset: int = 0
    payload: bytes = b""
    epoch: int = 0
    wanted: int = 0
    patience_s: float = 0.0
    flags: int = 0


def answers(response: Frame, request: Request) -> bool:
    """Whether this can be the response to that request, whatever its status."""
    if response.operation != request.operation | RESPONSE:
        return False
    good = response.flags == Status.OK
    if good and request.operation == Operation.HELLO:
        return response.payload == request.payload
    sizes = {Operation.READ: request.wanted, Operation.CHECK: 4}
    return len(response.payload) == (sizes.get(request.operation, 0) if good else 0)


def check(response: Frame, request: Request, accept: Sequence[Status]) -> None:
    """`EngineError` unless the status is OK or one of `accept`."""
    if response.flags == Status.OK or response.flags in accept:
        return
    try:
        status = Status(response.flags)
    except ValueError as error:
        raise ProtocolError(
            f"the engine answered with status {response.flags}, which this version does not know; "
            "use the host software that belongs to its gateware"
        ) from error
    raise EngineError(
        f"the engine refused {request.operation.name} at 0x{request.offset:08x} ({status.name}): "
        f"it {_MEANINGS[status]}"
    )
