"""The link over lines that lose, damage, repeat and reorder: everything ends, and ends right."""

import random
import zlib

import pytest

from dpnet.gateware.registers import BY_NAME, STREAM, Operation, Status
from dpnet.host.errors import DeadlineError, EngineError, PortError, ProtocolError
from dpnet.host.link import Link, Request
from dpnet.host.link.frames import Frame
from dpnet.sim.peers.engine_model import VALID, EngineModel, stuff, unstuff
from dpnet.sim.peers.faulty import FaultyTransport, ModelTransport

VECTORS = 5 << 28
FAULTS = [
    {"flip": 1e-3},
    {"drop": 1e-3},
    {"double": 1e-3},
    {"swap": 0.3},
    {"flip": 5e-4, "drop": 5e-4, "double": 5e-4, "swap": 0.2},
]


def writes(count, seed=1):
    source = random.Random(seed)
    return [(VECTORS + 256 * k, source.randbytes(256)) for k in range(count)]


def words_of(pairs):
    return {
        offset // 4 + k: int.from_bytes(data[4 * k : 4 * k + 4], "little")
        for offset, data in pairs
        for k in range(len(data) // 4)
    }


def requests_in(traffic):
    """(operation, txid) of every request on the line."""
    raws = [unstuff(part) for part in bytes(traffic).split(b"\0") if part]
    return [(raw[0] & 15, raw[1]) for raw in raws]


def test_writes_are_windowed():
    line = ModelTransport(delay_s=0.1, reply_s=0.2)
    pairs = writes(64)
    Link(line).write_many(pairs)
    assert line.engine.memory == words_of(pairs)
    # The greeting and 64 writes: 16 on their way at a time, nothing sent twice.
    assert len(requests_in(line.traffic)) == 65
    assert line.now() == pytest.approx(0.1 + 64 / 16 * 0.1)


def test_a_window_of_one_waits_for_each():
    line = ModelTransport(delay_s=0.1, reply_s=0.2)
    Link(line, window=1).write_many(writes(8))
    assert line.now() == pytest.approx(0.9)


@pytest.mark.parametrize("window", [1, 2, 16])
@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
def test_writes_and_reads_over_bad_lines(faults, window):
    for seed in range(4):
        line = FaultyTransport(ModelTransport(), seed, **faults)
        link = Link(line, window=window)
        pairs = writes(80, seed)
        done = []
        link.write_many(pairs, progress=done.append)
        assert line.inner.engine.memory == words_of(pairs)
        assert sum(done) == 80 * 256
        assert link.read(VECTORS, 80 * 256) == b"".join(data for _, data in pairs)
        assert line.faults > 5
        assert "swap" in faults or link.retransmissions > 5


def test_a_lost_response_to_a_write_needs_no_second_write():
    class Deaf(ModelTransport):
        """Loses every response but each fourth."""

        count = 0

        def read(self, limit, timeout_s):
            pieces = super().read(limit, timeout_s).split(b"\0")
            kept = []
            for piece in pieces:
                if piece:
                    self.count += 1
                if not piece or self.count % 4 == 1:
                    kept.append(piece)
            return b"\0".join(kept)

    line = Deaf()
    link = Link(line, first_txid=0)
    pairs = writes(61)
    link.write_many(pairs)
    # The bitmap of every fourth response tells of the three before it; the last three have
    # no response after theirs.
    assert len(requests_in(line.traffic)) <= 62 + 3
    assert line.engine.memory == words_of(pairs)


def test_writes_of_a_streamed_tile_go_to_an_engine_that_computes():
    line = ModelTransport()
    line.engine.state, line.engine.epoch, line.engine.busy = VALID, 9, True
    line.run_s = 1e9
    line.engine.on_start(0, 0, 0, 1)
    link = Link(line)
    pairs = [(offset - VECTORS + (1 << 28), data) for offset, data in writes(40)]
    for fields in ({"epoch": 9}, {"epoch": 8, "flags": STREAM}, {"flags": STREAM}):
        with pytest.raises(EngineError, match=r"^the engine refused WRITE at .* \(STALE\): "):
            Link(line).write_many(pairs[:1], **fields)
    assert not line.engine.memory
    link.write_many(pairs, epoch=9, flags=STREAM)
    assert line.engine.memory == words_of(pairs)
    with pytest.raises(EngineError, match=r"\(BUSY\): it is computing"):
        link.write_many(writes(1), epoch=9, flags=STREAM)


def test_an_engine_that_remembers_another_program():
    line = ModelTransport()
    Link(line, first_txid=100).write_many(writes(20))

    class Hole(FaultyTransport):
        """Loses the second write of each round once."""

        lost = False

        def write(self, data):
            parts = [part for part in data.split(b"\0") if part]
            for part in list(parts):
                raw = unstuff(part)
                if raw[0] & 15 == Operation.WRITE and raw[1] == 106 and not self.lost:
                    self.lost = True
                    parts.remove(part)
            self.inner.write(b"".join(b"\0" + part + b"\0" for part in parts))

    hole = Hole(line, 0)
    pairs = writes(20, seed=2)
    Link(hole, first_txid=104).write_many(pairs)
    assert hole.lost
    assert line.engine.memory == words_of(pairs)


def test_a_lost_request_is_noticed_before_its_time_is_up():
    class Hole(ModelTransport):
        """Loses the 5th request."""

        count = 0

        def write(self, data):
            kept = []
            for part in data.split(b"\0"):
                self.count += bool(part)
                if not part or self.count != 5:
                    kept.append(part)
                elif part:
                    self.count += 100
            super().write(b"\0".join(kept))

    line = Hole(delay_s=0.01, reply_s=5.0)
    Link(line).write_many(writes(30))
    assert line.now() < 0.2


def test_more_writes_than_the_window_are_on_their_way():
    for ahead, flights in ((0, 16), (9600, 35), (60_000, 64)):
        line = ModelTransport(delay_s=0.1, reply_s=0.5)
        pairs = writes(2 * flights)
        Link(line, ahead_bytes=ahead).write_many(pairs)
        assert line.engine.memory == words_of(pairs)
        assert line.now() == pytest.approx(0.1 + 2 * 0.1), "two rounds, and the greeting"
        assert len(requests_in(line.traffic)) == 1 + 2 * flights
    with pytest.raises(ValueError, match=r"^ahead_bytes must be 0 or more, not -1$"):
        Link(ModelTransport(), ahead_bytes=-1)


@pytest.mark.parametrize("faults", FAULTS, ids="-".join)
def test_writes_far_ahead_over_bad_lines(faults):
    for seed in range(4):
        line = FaultyTransport(ModelTransport(reply_s=0.1), seed, **faults)
        pairs = writes(300, seed)
        Link(line, ahead_bytes=9600).write_many(pairs)
        assert line.inner.engine.memory == words_of(pairs)


def test_writes_go_in_parts_where_frames_are_lost():
    sizes = {}
    for flip in (0.0, 1e-3, 5e-3):
        line = FaultyTransport(ModelTransport(), 1, flip=flip)
        parts = []
        Link(line).write_many(writes(300), progress=parts.append)
        assert sum(parts) == 300 * 256
        sizes[flip] = sum(parts[-100:]) / 100
    assert sizes[0.0] == 256
    assert 80 <= sizes[1e-3] <= 160, sizes
    assert 32 <= sizes[5e-3] <= 80, sizes


def test_up_to_256_bytes_are_read_at_one_moment():
    line = FaultyTransport(ModelTransport(), 1, flip=4e-3)
    link = Link(line, timeout_s=5)
    link.write_many(writes(100))
    for size, most in ((256, 1), (300, 99)):
        del line.inner.traffic[:]
        line.flip = 0.0
        link.read(VECTORS, size)
        reads = [part for part in bytes(line.inner.traffic).split(b"\0") if part]
        assert len(set(reads)) == 1 if most == 1 else len(set(reads)) > 2


@pytest.mark.parametrize("lost, repeated", [(range(5, 6), False), (range(5, 9), True)])
def test_a_new_txid_where_answers_come_and_the_old_one_where_none_does(lost, repeated):
    class Hole(ModelTransport):
        """Loses these requests, and notes the txids of all."""

        def write(self, data):
            kept = []
            for part in [part for part in data.split(b"\0") if part]:
                txids.append(unstuff(part)[1])
                if len(txids) not in lost:
                    kept.append(b"\0" + part + b"\0")
            super().write(b"".join(kept))

    txids = []
    line = Hole()
    Link(line, window=4, first_txid=0).write_many(writes(12))
    assert line.engine.memory == words_of(writes(12))
    # The greeting has txid 0: the 5th request is the first to be lost, alone or with its window.
    assert txids.count(4) == (2 if repeated else 1)
    assert len(set(txids)) == (13 if repeated else 14)
    # After a loss the last request is sent three times.
    assert txids[-3:] == 3 * txids[-1:]


OPERATIONS = [
    lambda link: link.read(0, 4),
    lambda link: link.read(VECTORS, 4096),
    lambda link: link.write_many(writes(40)),
    lambda link: link.request(Operation.CHECK, payload=bytes([0, 0, 0, 4, 1, 0, 0, 0])),
]


@pytest.mark.parametrize("operation", OPERATIONS)
@pytest.mark.parametrize(
    "faults",
    [
        {"mute_after": 0},
        {"mute_after": 25},
        {"mute_after": 0, "babble": True},
        {"drop": 1.0},
        {"flip": 1.0},
        {"mute_after": 25, "babble": True},
    ],
    ids=str,
)
def test_every_operation_ends_within_its_deadline(operation, faults):
    line = FaultyTransport(ModelTransport(), 3, **faults)
    link = Link(line, timeout_s=2.0)
    with pytest.raises(DeadlineError) as caught:
        operation(link)
    # 25 bytes let the greeting through; then the operation has its own two seconds.
    assert 2.0 <= line.now() <= 2.1
    words = "stopped answering" if faults.get("mute_after") else "no engine answers"
    assert words in str(caught.value) and "\n" not in str(caught.value)


@pytest.mark.parametrize("after", [0, 30, 2000, 5000])
def test_a_port_that_closes(after):
    line = FaultyTransport(ModelTransport(), 1, close_after=after)
    with pytest.raises(PortError, match=r"^the port was closed$"):
        Link(line).write_many(writes(40))


def test_an_echo_is_no_engine():
    class Echo(ModelTransport):
        """Sends back what it is sent."""

        def write(self, data):
            self._arrivals.append((self._now, data))

    with pytest.raises(DeadlineError, match=r"^no engine answers: no response to HELLO for 0.48 s"):
        Link(Echo()).read(0, 4)


def test_retransmissions_slow_down():
    line = FaultyTransport(ModelTransport(reply_s=0.1), 1, mute_after=0)
    with pytest.raises(DeadlineError):
        Link(line, timeout_s=10).read(0, 4)
    # 0.1, 0.2, 0.4 and then 0.8 s apart.
    assert 10 < line.written // len(Frame(6, 0, flags=1, payload=b"mark").encode()) < 17


@pytest.mark.parametrize(
    "request_, status, words",
    [
        (
            Request(Operation.WRITE, 1 << 28, bytes(4), epoch=9),
            Status.STALE,
            "is not loading this image; was it reset, or does another program load it?",
        ),
        (
            Request(Operation.READ, 2, wanted=4),
            Status.BAD_ADDRESS,
            "has nothing at this address, or not of this size; is the image for a larger one?",
        ),
        (
            Request(Operation.WRITE, BY_NAME["START"].offset, bytes(4)),
            Status.NOT_VALID,
            "holds no valid image; load one first",
        ),
    ],
)
def test_a_refusal_is_an_error(request_, status, words):
    link = Link(ModelTransport())
    with pytest.raises(EngineError) as caught:
        link.exchange([request_])
    where = f"{request_.operation.name} at 0x{request_.offset:08x}"
    assert str(caught.value) == f"the engine refused {where} ({status.name}): it {words}"
    (response,) = link.exchange([request_], accept=[status])
    assert response.flags == status
    # The link goes on after a refusal.
    assert link.read(0, 4) == b"TNPD"


def test_an_unknown_status():
    class Later(EngineModel):
        """An engine of a later version."""

        def _carry_out(self, *_):
            return 77, b""

    with pytest.raises(ProtocolError, match=r"^the engine answered with status 77, which this "):
        Link(ModelTransport(Later())).read(0, 4)


def test_answers_to_others_are_not_ours():
    class Stranger(ModelTransport):
        """Every answer is preceded by one with another txid and one with another operation."""

        def write(self, data):
            super().write(data)
            for raw in [unstuff(part) for part in data.split(b"\0") if part]:
                for first, txid in ((raw[0] + 0x80, raw[1] ^ 64), (0xE3, raw[1])):
                    body = bytes([first, txid, 0, 0, 0, 0, 0, 0, 4, 0]) + b"evil"
                    line = stuff(body + zlib.crc32(body).to_bytes(4, "little"))
                    self._arrivals.insert(0, (self._now, b"\0" + line + b"\0"))

    assert Link(Stranger()).read(0, 4) == b"TNPD"


def answer(operation, txid, payload=b"", version=6, status=0):
    body = bytes([0x80 | version << 4 | operation, txid, 0, status, *bytes(4), len(payload), 0])
    body += payload
    return b"\0" + stuff(body + zlib.crc32(body).to_bytes(4, "little")) + b"\0"


def test_what_was_said_to_a_program_before_this_one():
    """Whatever an engine still had to say, under any txid: none of it is taken for an answer."""
    for operation, payload in ((1, b"evil"), (5, b"evil"), (2, b""), (6, b"evil")):
        line = ModelTransport()
        old = b"".join(answer(operation, txid, payload) for txid in range(256))
        line._arrivals.append((0.0, b"half a frame\1" + old))
        link = Link(line)
        assert link.read(0, 4) == b"TNPD"
        link.write_many(writes(4))
        assert line.engine.memory == words_of(writes(4))


def test_an_engine_of_another_version_is_told_apart():
    """One that answers in its own frames, as versions since 4 do, or as those before 4 did."""

    class Older(ModelTransport):
        """Version 3 marks a response in the operation."""

        def write(self, data):
            for raw in [unstuff(part) for part in data.split(b"\0") if part]:
                body = bytes([0x38 | raw[0] & 15, raw[1], 0, 1, *bytes(6)])
                line = stuff(body + zlib.crc32(body).to_bytes(4, "little"))
                self._arrivals.append((self._now, b"\0" + line + b"\0"))

    for line, version in ((ModelTransport(EngineModel(version=7)), 7), (Older(), 3)):
        with pytest.raises(ProtocolError) as caught:
            Link(line).read(0, 4)
        assert str(caught.value) == (
            f"the engine speaks protocol {version}, this host 6; use the host software and the "
            "bitstream of one release"
        )
        assert line.now() < 0.1


@pytest.mark.parametrize(
    "reply_s, timeout_s", [(2e-4, 0.0096), (0.0625, 3.0), (0.15, 3.0), (0.5, 8.0)]
)
def test_default_deadline(reply_s, timeout_s):
    assert Link(ModelTransport(reply_s=reply_s)).timeout_s == pytest.approx(timeout_s)


@pytest.mark.parametrize("window", [0, 17])
def test_window_range(window):
    with pytest.raises(ValueError, match=f"^window must be 1 to 16, not {window}$"):
        Link(ModelTransport(), window)
