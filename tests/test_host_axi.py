"""Mapping a door, a file in the place of its device: what may be missing, what is given back."""

import os
import time
from pathlib import Path

import numpy as np
import pytest
from waiting_kit import PROMPT_S

from dpnet.gateware.registers import MAGIC
from dpnet.host.errors import PortError
from dpnet.host.link import axi
from dpnet.host.link.axi import MappedWords, answers, open_axi
from dpnet.host.link.transport import open_transport


@pytest.fixture
def sys(tmp_path):
    return tmp_path / "sys"


@pytest.fixture
def device(tmp_path):
    """A door that has room and is mute."""
    return made(tmp_path / "uio7", MAGIC, 512 << 16)


def made(path: Path, *words: int, size=4096) -> Path:
    path.write_bytes(np.array(words, "<u4").tobytes().ljust(size, b"\0"))
    return path


def open_files():
    return len(os.listdir("/proc/self/fd"))


def test_a_device_is_mapped_and_given_back(device, sys):
    before = open_files()
    port = open_axi(f"axi:{device}", sys=sys)
    port.write(bytes.fromhex("01020304 05060700"))
    assert np.fromfile(device, "<u4")[:4].tolist() == [MAGIC, 512 << 16, 0x00070605, 0]
    with pytest.raises(PortError) as caught:
        open_axi(f"axi://{device}", sys=sys)
    assert str(caught.value) == (
        f"axi://{device} cannot be opened: another program has it open; end it"
    )
    port.close()
    port.close()
    assert open_files() == before
    open_transport(f"axi:{device}").close()
    assert open_files() == before


def test_uio_devices_and_addresses_are_told_apart(sys):
    assert axi._device("axi:uio0", sys) == (Path("/dev/uio0"), 0)
    assert axi._device("axi:/dev/uio12", sys) == axi._device("axi:///dev/uio12", sys)
    assert axi._device("axi:0x40000000", sys) == (Path("/dev/mem"), 0x4000_0000)
    assert axi._device("axi:0xfFfF0000", sys) == (Path("/dev/mem"), 0xFFFF_0000)


def named(sys: Path, **names: str) -> None:
    """The folder of UIO devices as Linux shows it: names by device."""
    for device, name in names.items():
        (sys / "class/uio" / device).mkdir(parents=True)
        (sys / "class/uio" / device / "name").write_text(f"{name}\n")


@pytest.mark.parametrize("url", ["axi:dpnet", "axi://dpnet", "axi:uio:dpnet", "axi://uio:dpnet"])
def test_a_uio_device_has_a_name(sys, url):
    named(sys, uio0="can", uio1="dpnet", uio10="dpnet-old")
    assert axi._device(url, sys) == (Path("/dev/uio1"), 0)


def test_any_name_can_be_spelled_out(sys):
    """Also one that looks like a number of a device, or like an address."""
    named(sys, uio0="uio1", uio1="0x40000000", uio2="a b")
    assert axi._device("axi:uio:uio1", sys) == (Path("/dev/uio0"), 0)
    assert axi._device("axi:uio:0x40000000", sys) == (Path("/dev/uio1"), 0)
    assert axi._device("axi:uio:a b", sys) == (Path("/dev/uio2"), 0)


CURE = (
    "; load the driver (modprobe uio_pdrv_genirq of_id=generic-uio) and the device tree that "
    "belongs to the bitstream"
)


def test_a_name_that_no_device_has(sys):
    with pytest.raises(PortError) as caught:
        open_axi("axi:dpnet", sys=sys)
    assert str(caught.value) == (
        f"axi:dpnet names no device: no UIO device is called 'dpnet', there is none{CURE}"
    )
    named(sys, uio1="dpnet2", uio0="can")
    with pytest.raises(PortError) as caught:
        open_axi("axi:uio:dpnet", sys=sys)
    assert str(caught.value) == (
        "axi:uio:dpnet names no device: no UIO device is called 'dpnet', there is 'can' (uio0), "
        f"'dpnet2' (uio1){CURE}"
    )


def test_a_name_that_two_devices_have(sys):
    named(sys, uio3="dpnet", uio0="can", uio2="dpnet")
    with pytest.raises(PortError) as caught:
        open_axi("axi:dpnet", sys=sys)
    assert str(caught.value) == (
        "axi:dpnet names no device: uio2, uio3 are all called 'dpnet'; use one of them, axi:uio2"
    )


def test_a_named_device_is_opened_by_its_number(sys):
    """What is said of it afterwards names the URL that was given."""
    named(sys, uio4094="dpnet")
    with pytest.raises(PortError) as caught:
        open_axi("axi:dpnet", sys=sys)
    assert str(caught.value) == (
        "axi:dpnet cannot be opened: there is no /dev/uio4094; load the driver (modprobe "
        "uio_pdrv_genirq of_id=generic-uio) and the device tree that belongs to the bitstream"
    )


@pytest.mark.parametrize("name", ["", "//", "uio:", "0x", "0x40000004", "4096", "0xg"])
def test_urls_that_are_none(name):
    with pytest.raises(PortError) as caught:
        open_transport(f"axi:{name}")
    assert str(caught.value) == (
        f"axi:{name} names no device: {name.removeprefix('//')!r} is neither a UIO device nor the "
        "address of a page; use axi:dpnet, axi:uio0, axi:/dev/uio0 or axi:0x40000000"
    )


@pytest.mark.parametrize("magic", [0, 0xFFFFFFFF, 0x544E5044])
def test_something_else_is_there(tmp_path, sys, magic):
    before = open_files()
    device = made(tmp_path / "uio0", magic, 512 << 16)
    with pytest.raises(PortError) as caught:
        open_axi(f"axi:{device}", sys=sys)
    assert str(caught.value) == (
        f"axi:{device} is no door of an engine: its magic is 0x{magic:08x} instead of 0x44504e54; "
        "check the address, and load the bitstream of a DP-Net engine"
    )
    assert open_files() == before


def test_devices_that_cannot_be_mapped(tmp_path, sys):
    before = open_files()
    small = made(tmp_path / "small", MAGIC, size=64)
    lacking = tmp_path / "uio3"
    for path, message in {
        lacking: f"cannot be opened: there is no {lacking}; load the driver (modprobe "
        "uio_pdrv_genirq of_id=generic-uio) and the device tree that belongs to the bitstream",
        tmp_path: "cannot be opened: Is a directory; check the name",
        small: "cannot be mapped: mmap length is greater than file size; the device must have "
        "0x1000 bytes there: check the address, or the device tree",
        "/dev/null": "cannot be mapped: [Errno 19] No such device; the device must have 0x1000 "
        "bytes there: check the address, or the device tree",
    }.items():
        with pytest.raises(PortError) as caught:
            open_axi(f"axi:{path}", sys=sys)
        assert str(caught.value) == f"axi:{path} {message}"
    assert open_files() == before


def test_a_device_of_somebody_else(device, sys):
    device.chmod(0)
    user = os.geteuid()
    if not user:
        os.seteuid(65534)
    try:
        with pytest.raises(PortError) as caught:
            MappedWords("axi:uio7", device, 0)
    finally:
        os.seteuid(user)
    assert str(caught.value) == (
        f"axi:uio7 cannot be opened: you may not use {device}; run as root, or let a group of "
        f"yours have it (chgrp, chmod g+rw {device})"
    )


def test_memory_that_the_kernel_keeps(device, monkeypatch):
    def refuse(*arguments, **options):
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(axi.mmap, "mmap", refuse)
    before = open_files()
    with pytest.raises(PortError) as caught:
        MappedWords("axi:0x40000000", device, 0x40000000)
    assert str(caught.value) == (
        "axi:0x40000000 cannot be mapped: the kernel does not give this address away "
        "(CONFIG_STRICT_DEVMEM); use a UIO device"
    )
    assert open_files() == before


def test_a_map_that_is_too_small(device, sys):
    size = sys / "class/uio/uio7/maps/map0/size"
    size.parent.mkdir(parents=True)
    size.write_text("0x00000100\n")
    with pytest.raises(PortError) as caught:
        open_axi(f"axi:{device}", sys=sys)
    assert str(caught.value) == (
        f"axi:{device} cannot be mapped: its first map has 0x100 bytes instead of 0x1000; correct "
        "`reg` in the device tree, or name another device"
    )
    size.write_text("0x00001000\n")
    open_axi(f"axi:{device}", sys=sys).close()


def test_logic_that_is_not_configured_is_not_touched(device, sys, monkeypatch):
    state = sys / "class/fpga_manager/fpga0/state"
    state.parent.mkdir(parents=True)
    state.write_text("unknown\n")
    with monkeypatch.context() as patch:
        patch.setattr(axi, "MappedWords", lambda *_: pytest.fail("the processor stops"))
        with pytest.raises(PortError) as caught:
            open_axi(f"axi:{device}", sys=sys)
    assert str(caught.value) == (
        f"axi:{device}: no bitstream is loaded: the FPGA manager is in state 'unknown' instead of "
        "'operating'; load the bitstream of a DP-Net engine first"
    )
    state.write_text("operating\n")
    open_axi(f"axi:{device}", sys=sys).close()


def test_a_bus_error_is_one_line(device, sys, monkeypatch):
    class Vanishing(MappedWords):
        """Reading beyond the end of a mapped file is a bus error, as on an empty address."""

        def __init__(self, *arguments):
            super().__init__(*arguments)
            os.truncate(device, 0)

    monkeypatch.setattr(axi, "MappedWords", Vanishing)
    before = open_files()
    with pytest.raises(PortError) as caught:
        open_axi(f"axi:{device}", sys=sys)
    assert str(caught.value) == (
        f"axi:{device} does not answer: reading its first word is a bus error; check the address, "
        "and load the bitstream of a DP-Net engine"
    )
    assert open_files() == before


def test_a_bus_that_does_not_answer_in_time():
    class Slow:
        def __getitem__(self, index):
            time.sleep(10 * PROMPT_S)

    began = time.monotonic()
    assert answers(Slow(), 0.1) is False
    assert time.monotonic() - began < PROMPT_S

    class Quick:
        def __getitem__(self, index):
            return 0

    assert answers(Quick()) is True, "whatever it says"
