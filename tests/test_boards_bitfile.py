""".bit to .bin: files made here by hand, and what is refused."""

import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dpnet.boards.bitfile import BitFile, BitFileError, main, parse, write_bin

PART = "xc7z045ffg900-2"
WORDS = (0xFFFFFFFF, 0x000000BB, 0x11220044, 0xFFFFFFFF, 0xAA995566, 0x20000000, 0x12345678)


def text(key, value):
    raw = value.encode() + b"\0"
    return key.encode() + struct.pack(">H", len(raw)) + raw


def made(part="7z045ffg900", words=WORDS, tail=b""):
    """A .bit file as Vivado writes it."""
    data = b"".join(struct.pack(">I", word) for word in words) + tail
    return (
        b"\x00\x09\x0f\xf0\x0f\xf0\x0f\xf0\x0f\xf0\x00\x00\x01"
        + text("a", "dpnet;UserID=0XFFFFFFFF;Version=2023.2")
        + text("b", part)
        + text("c", "2024/05/06")
        + text("d", "07:08:09")
        + b"e"
        + struct.pack(">I", len(data))
        + data
    )


def test_header_and_words():
    bit = parse(made())
    assert bit == BitFile(
        "dpnet;UserID=0XFFFFFFFF;Version=2023.2", "7z045ffg900", "2024/05/06", "07:08:09", bit.data
    )
    assert struct.unpack(f">{len(WORDS)}I", bit.data) == WORDS
    # What the kernel's driver looks for, at a word boundary.
    assert bit.bin()[16:20] == b"\x66\x55\x99\xaa"
    assert struct.unpack(f"<{len(WORDS)}I", bit.bin()) == WORDS


@pytest.mark.parametrize("part", ["7z045ffg900", "xc7z045ffg900-2", "XC7Z045FFG900"])
def test_parts_of_both_tools(part):
    parse(made(part)).check_part(PART)


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "not a .bit file: it does not start with its 13 bytes"),
        (made()[4:], "not a .bit file: it does not start with its 13 bytes"),
        (made()[:30], "field a is cut off: 39 bytes are announced, 14 are there"),
        (made().replace(b"b\0\x0c", b"f\0\x0c"), "field b is missing at byte 55: b'f' is there"),
        (
            made().replace(b"7z045ffg900\0", b"7z045ffg900!"),
            "field b (part) must be ASCII that ends in a zero byte",
        ),
        (made()[:-4], "field e is cut off: 28 bytes are announced, 24 are there"),
        (made() + b"12", "2 bytes follow the configuration"),
        (made(tail=b"xy"), "the configuration must be whole words of 4 bytes, not 30"),
        (made(words=WORDS[:4]), "the configuration has no synchronization word aa995566"),
        (
            made(words=(0xFFAA9955, 0x66FFFFFF)),
            "the configuration has no synchronization word aa995566",
        ),
    ],
)
def test_refuses(content, message):
    with pytest.raises(BitFileError) as caught:
        parse(content)
    assert str(caught.value) == message


@given(st.data())
def test_damage_is_refused_or_harmless(data):
    """Cut, flipped, inserted, dropped: a typed error, or whole words that could be a bitstream."""
    content = bytearray(made())
    for _ in range(data.draw(st.integers(1, 4))):
        position = data.draw(st.integers(0, max(0, len(content) - 1)))
        how = data.draw(st.sampled_from(("cut", "flip", "insert", "drop")))
        if how == "cut":
            del content[position:]
        elif how == "insert":
            content[position:position] = data.draw(st.binary(min_size=1, max_size=5))
        elif how == "drop":
            del content[position : position + 1]
        elif content:
            content[position] ^= data.draw(st.integers(1, 255))
    try:
        bit = parse(bytes(content))
    except BitFileError:
        return
    assert bytes(content).endswith(bit.data) and len(bit.data) % 4 == 0
    assert len(bit.bin()) == len(bit.data) and b"\x66\x55\x99\xaa" in bit.bin()


def test_wrong_part_leaves_nothing(tmp_path, capsys):
    (tmp_path / "x.bit").write_bytes(made("7z020clg484"))
    (tmp_path / "x.bin").write_bytes(b"old")
    with pytest.raises(BitFileError) as caught:
        write_bin(tmp_path / "x.bit", tmp_path / "x.bin", PART)
    wrong = f"{tmp_path}/x.bit: the bitstream is for '7z020clg484', not for '{PART}'"
    assert str(caught.value) == wrong
    assert main([str(tmp_path / "x.bit"), "--part", PART]) == 2
    assert capsys.readouterr().err == f"bitfile: {wrong}\n"
    assert (tmp_path / "x.bin").read_bytes() == b"old"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["x.bin", "x.bit"]


def test_command(tmp_path, capsys):
    (tmp_path / "x.bit").write_bytes(made())
    assert main([str(tmp_path / "x.bit"), "--out", str(tmp_path / "y.bin")]) == 0
    assert struct.unpack("<7I", (tmp_path / "y.bin").read_bytes()) == WORDS
    assert capsys.readouterr().out == (
        f"{tmp_path}/y.bin: 28 bytes for 7z045ffg900, built 2024/05/06 07:08:09\n"
    )
    assert main([str(tmp_path / "none.bit")]) == 2
