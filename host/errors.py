"""What can go wrong between the host and an engine: one line each, what, why, what to do."""

from __future__ import annotations


class LinkError(RuntimeError):
    """Talking to an engine failed."""


class PortError(LinkError):
    """The port is not there, cannot be opened, or was closed or taken away."""


class DeadlineError(LinkError):
    """The engine did not answer in time."""


class ProtocolError(LinkError):
    """The other end answers, but it is no engine that this host can talk to."""


class EngineError(LinkError):
    """The engine refused a request or reports an error of a run, whose `report` it carries then."""

    def __init__(self, message: str, report: object = None) -> None:
        super().__init__(message)
        self.report = report
