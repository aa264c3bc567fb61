"""What an engine can do: say what it is, hold an image, take and give words, run layers."""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from dpnet.gateware.registers import (
    BY_NAME,
    CONSTANTS,
    MAGIC,
    MAX_VECTORS,
    REGISTERS,
    RUN_ERRORS,
    VERSION,
    Operation,
    State,
    Status,
)
from dpnet.host.errors import DeadlineError, EngineError, LinkError, ProtocolError
from dpnet.host.link import Link, other_version
from dpnet.host.link.request import Request
from dpnet.host.segments import LoadImage, Progress, Reporter, Segment, Words, as_words, pieces
from dpnet.model.engine.stores import HALVES

_REPAIRS = 3
_SLOWEST_WORDS_PER_S = 5_000
"""A simulated engine on a busy machine; a real one reads back 100 million."""
_SHORTEST_SLEEP_S, _LONGEST_SLEEP_S = 0.000002, 0.02
_ABORT_S = 5.0
"""An engine ends a run within 131,072 cycles; simulated ones do a hundred thousand a second."""

_RUN_MEANINGS = {
    "nonfinite": "a vector holds a NaN or an infinity",
    "range": "an activation or an accumulator is beyond its width; was the image made for this?",
    "sigma": "a bucket sum differs from the sum of the inputs (an upset): run again",
    "overflow": "a result is too large for fp32",
    "parity": "a stored word changed (an upset): load the image again, which sends all of it",
}


@dataclass(frozen=True)
class Identity:
    """What an engine is: `values`, its constant registers by name (`CONSTANTS` of
    `dpnet.gateware.registers`), each of which is an attribute by its name in lower case."""

    values: Mapping[str, int]

    def __getattr__(self, name: str) -> int:
        if name.upper() not in CONSTANTS or name.isupper():
            raise AttributeError(f"an engine's identity has no {name!r}")
        return self.values[name.upper()]

    @property
    def lanes(self) -> int:
        """Lanes of the array or map engine."""
        return self.stages * self.columns * self.segments


@dataclass(frozen=True)
class RunReport:
    """A finished run: cycles counted by the engine, from the start to the last result, and the
    names of its errors (of `dpnet.gateware.registers.RUN_ERRORS`).  `stalled` of the cycles passed
    waiting for tiles, of which `sent_bytes` were sent (`dpnet.host.stream`)."""

    cycles: int
    errors: tuple[str, ...] = ()
    stalled: int = 0
    sent_bytes: int = 0

    def __add__(self, other: RunReport) -> RunReport:
        """Both runs together."""
        return RunReport(
            self.cycles + other.cycles,
            self.errors + other.errors,
            self.stalled + other.stalled,
            self.sent_bytes + other.sent_bytes,
        )


class Driver:
    """An engine behind a link.

    Every method raises a `LinkError`: `PortError`, `DeadlineError`, `ProtocolError`, `EngineError`.
    Addresses are byte addresses, multiples of 4; words are 32 bits.
    """

    def __init__(self, link: Link) -> None:
        self.link = link
        self._identity: Identity | None = None

    def registers(self) -> dict[str, int]:
        """All registers by name, read at once."""
        data = self.link.read(0, 4 * len(REGISTERS))
        values = np.frombuffer(data, "<u4")
        return {register.name: int(values[register.offset // 4]) for register in REGISTERS}

    def identify(self) -> Identity:
        """What the engine is; `ProtocolError` if it is no engine, or of another version."""
        if self._identity is None:
            found = int.from_bytes(self.link.read(BY_NAME["MAGIC"].offset, 4), "little")
            if found != MAGIC:
                raise ProtocolError(
                    f"the device is no DP-Net engine: its magic is 0x{found:08x} instead of "
                    f"0x{MAGIC:08x}; check the port and the bitstream"
                )
            protocol = int.from_bytes(self.link.read(BY_NAME["PROTOCOL"].offset, 4), "little")
            if protocol != VERSION:
                raise ProtocolError(other_version(protocol))
            values = self.registers()
            self._identity = Identity({name: values[name] for name in CONSTANTS})
        return self._identity

    def load(self, segments: Sequence[Segment], progress: Progress | None = None) -> bool:
        """Make the engine hold the image that `segments` (address, words) are; False if it did.

        After a parity error everything is sent, even if the engine holds the image.
        The engine reads back every word before it takes the image for valid.  A load of the same
        image that was interrupted goes on: only what is missing is sent; so it is with an image
        that the engine found changed since.  `progress` is called
        with the words done and all words.  At most 31 separate address ranges.  A run that is on is
        ended: whoever started it is gone.
        """
        image = LoadImage(segments)
        self.identify()
        values = self.registers()
        if _is_busy(values):
            self.abort()
            values = self.registers()
        state = BY_NAME["STATUS"].field("state").of(values["STATUS"])
        epoch = values["EPOCH"]
        whole = "parity" not in _run_report(values).errors
        if state == State.VALID and whole and image.is_held(values):
            return False
        report = Reporter(progress, image.count)
        # A word whose parity bit changed reads back right.
        known = whole or not _image_changed(values)
        if state == State.LOADING and epoch in image.epochs and known:
            self._repair(image, epoch, report)
        else:
            # The first candidate may be what the engine holds for another image.
            epoch = next(value for value in image.epochs if value != epoch)
            self.link.request(Operation.BEGIN, epoch=epoch)
            self._send(image.segments, epoch, report)
        for _ in range(_REPAIRS):
            if self._commit(image, epoch):
                report.finish()
                return True
            self._repair(image, epoch, Reporter(None, image.count))
        raise EngineError(
            "the engine does not hold what was sent (CHECK_FAILED): a store is faulty; load its "
            "bitstream again"
        )

    def check_words(self, address: int, count: int) -> int:
        """CRC-32 of `count` words from `address`, computed by the engine from its stores."""
        return self._checks([(address, count)])[0]

    def write_words(self, address: int, words: NDArray[Any]) -> None:
        """Write `words` (any integer array; 32 bits are kept) to vectors or results."""
        self.link.write_many(pieces([(address, as_words(words))]))

    def read_words(self, address: int, count: int) -> Words:
        """`count` words from `address`."""
        return np.frombuffer(self.link.read(address, 4 * count), "<u4").astype(np.uint32)

    def run(self, first: int, last: int, timeout_s: float = 10.0, *, vectors: int = 1) -> RunReport:
        """Run layers `first` to `last` and wait for the end; a single layer may take `vectors` (1
        to 256) back to back.

        `DeadlineError` if it is not done after `timeout_s`, of the transport's time and of the
        engine's own clock: it is told to end then; `EngineError` if the engine reports an error of
        the run, with the `RunReport` as its `report`.
        """
        number = self.start(first, last, vectors=vectors)
        return self.finish(number, f"layers {first} to {last}", timeout_s)

    def start(
        self, first: int, last: int, *, vectors: int = 1, half: int = 0, pictures: int = 1
    ) -> int:
        """Start a run (see `run`) and return its number.  A map engine runs passes, on a `half` of
        its pictures and results, 0 or 1, in flight on so many `pictures`."""
        if not 1 <= vectors <= (MAX_VECTORS if first == last else 1):
            most = f"1 to {MAX_VECTORS}" if first == last else "1 for a run of several layers"
            raise ValueError(f"vectors must be {most}, not {vectors!r}")
        if half not in (0, 1) or (half and vectors > 1):
            raise ValueError(f"half must be 0 or 1, and vectors 1 with it, not {half!r}")
        if not 1 <= pictures <= MAX_VECTORS // HALVES or (pictures > 1 and vectors > 1):
            raise ValueError(
                f"pictures must be 1 to {MAX_VECTORS // HALVES}, and vectors 1 with them, not "
                f"{pictures!r}"
            )
        held = self.registers()
        _refuse_changed(held)
        number = (held["RUN"] + 1) & 0xFFFF
        count = vectors + half + HALVES * (pictures - 1)
        word = register_word("START", run=number, first=first, last=last)
        if held["VECTORS"] != count:
            self._write_register("VECTORS", count)
        self._write_register("START", word)
        return number

    def finish(self, number: int, what: str, timeout_s: float) -> RunReport:
        """Wait for the end of run `number`, of `what`; see `run`."""
        try:
            final = self._wait(number, f"run {number} ({what})", timeout_s)
        except DeadlineError:
            with suppress(LinkError):
                self.abort()
            raise
        report = _run_report(final)
        if report.errors:
            reasons = "; ".join(f"{name}: {_RUN_MEANINGS[name]}" for name in report.errors)
            raise EngineError(f"{what}: {reasons}", report)
        return report

    def abort(self) -> bool:
        """End the run that is on, wherever it is; False if there is none.  `DeadlineError` if it
        does not end.  Its results mean nothing."""
        values = self.registers()
        if not _is_busy(values):
            return False
        number, transport = values["RUN"], self.link.transport
        self._write_register("ABORT", register_word("ABORT", run=number))
        end, pause_s = transport.now() + _ABORT_S, 0.00002
        while _is_busy(self.registers()):
            if transport.now() >= end:
                raise DeadlineError(
                    f"run {number} was told to end and does not after {_ABORT_S:g} s; reset the "
                    "engine"
                )
            transport.sleep(pause_s)
            pause_s = min(2 * pause_s, _LONGEST_SLEEP_S)
        return True

    def release(self, number: int, tiles: int) -> None:
        """Say that the first `tiles` tiles of run `number` are in the stores (`host.stream`)."""
        self._write_register("RELEASE", register_word("RELEASE", run=number, tiles=tiles))

    def check_results(self) -> None:
        """Raise `EngineError` if a result that was read since the last run had a wrong parity, or
        the image was found changed."""
        status = int.from_bytes(self.link.read(BY_NAME["STATUS"].offset, 4), "little")
        _refuse_changed({"STATUS": status})
        if BY_NAME["STATUS"].field("parity").of(status):
            raise EngineError(
                "results: parity: a word changed after it was stored (an upset): run again",
                _run_report(self.registers()),
            )

    def _write_register(self, name: str, value: int) -> None:
        self.link.request(Operation.WRITE, BY_NAME[name].offset, value.to_bytes(4, "little"))

    def _wait(self, number: int, what: str, timeout_s: float) -> dict[str, int]:
        transport = self.link.transport
        end = transport.now() + timeout_s
        pause_s, before = 0.00002, -1
        while True:
            values = self.registers()
            status = BY_NAME["STATUS"]
            valid = status.field("state").of(values["STATUS"]) == State.VALID
            _refuse_changed(values)
            if not valid or values["RUN"] != number:
                raise EngineError(
                    f"{what} was lost: the engine was reset or used by another program; load and "
                    "run again"
                )
            if not _is_busy(values):
                if status.field("aborted").of(values["STATUS"]):
                    raise EngineError(f"{what} was ended by another program; run again")
                return values
            # A simulated board may take long for what its clock says it has: as long as it counts.
            cycles = _cycles(values)
            if transport.now() >= end and (
                cycles == before or cycles >= timeout_s * values["CLOCK_HZ"]
            ):
                raise DeadlineError(
                    f"{what} is not done after {timeout_s:g} s and was told to end; allow more, or "
                    "see what the image's layers say"
                )
            transport.sleep(max(_SHORTEST_SLEEP_S, min(pause_s, end - transport.now())))
            pause_s, before = min(2 * pause_s, _LONGEST_SLEEP_S), cycles

    def _send(self, segments: Sequence[Segment], epoch: int, report: Reporter) -> None:
        self.link.write_many(pieces(segments), epoch=epoch, progress=report.bytes_done)

    def _repair(self, image: LoadImage, epoch: int, report: Reporter) -> None:
        """Send the chunks whose CRC in the engine is not the image's."""
        chunks = list(image.chunks())
        found = self._checks([(address, len(words)) for address, words in chunks])
        missing = []
        for (address, words), crc in zip(chunks, found, strict=True):
            if zlib.crc32(words.tobytes()) == crc:
                report.bytes_done(4 * len(words))
            else:
                missing.append((address, words))
        self._send(missing, epoch, report)

    def _checks(self, ranges: Sequence[tuple[int, int]]) -> list[int]:
        requests = (
            Request(
                Operation.CHECK,
                payload=np.array([address // 4, count], "<u4").tobytes(),
                patience_s=self.link.window * count / _SLOWEST_WORDS_PER_S,
            )
            for address, count in ranges
        )
        responses = self.link.exchange(requests)
        return [int.from_bytes(response.payload, "little") for response in responses if response]

    def _commit(self, image: LoadImage, epoch: int) -> bool:
        response = self.link.request(
            Operation.COMMIT,
            payload=image.commit,
            epoch=epoch,
            patience_s=image.count / _SLOWEST_WORDS_PER_S,
            accept=(Status.CHECK_FAILED,),
        )
        return response.flags == Status.OK


def register_word(register: str, **values: int) -> int:
    """The value of a register made of these fields; `ValueError` for a field out of range."""
    word = 0
    for name, value in values.items():
        field = BY_NAME[register].field(name)
        most = (1 << field.bits) - 1
        if not 0 <= value <= most:
            raise ValueError(f"{name} must be 0 to {most}, not {value!r}")
        word |= value << field.offset
    return word


def _is_busy(values: Mapping[str, int]) -> bool:
    return bool(BY_NAME["STATUS"].field("busy").of(values["STATUS"]))


def _cycles(values: Mapping[str, int]) -> int:
    return values["CYCLES_HI"] << 32 | values["CYCLES_LO"]


def _image_changed(values: Mapping[str, int]) -> bool:
    return bool(BY_NAME["STATUS"].field("image").of(values["STATUS"]))


def _refuse_changed(values: Mapping[str, int]) -> None:
    if _image_changed(values):
        raise EngineError(
            "the image in the engine changed (an upset): load it again, which sends what changed, "
            "and run again"
        )


def _run_report(values: dict[str, int]) -> RunReport:
    status = BY_NAME["STATUS"]
    errors = tuple(name for name in RUN_ERRORS if status.field(name).of(values["STATUS"]))
    return RunReport(_cycles(values), errors, values["STALLED"])
