"""What the processor does to mapped registers: every access of an instruction, counted.

The page is protected, so that each instruction that touches it traps: the handler notes address and
direction, lets the one instruction pass and protects the page again.
"""

import json
import platform
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from waiting_kit import PATIENCE_S

from dpnet.gateware.registers import MAGIC

TRAP = r"""
#define _GNU_SOURCE
#include <signal.h>
#include <stdint.h>
#include <string.h>
#include <sys/mman.h>
#include <ucontext.h>
enum { PAGE = 4096, STEP = 0x100, WRITES = 2 };
static char *page;
static uint32_t noted[4096];
static int count;

static void on_access(int number, siginfo_t *info, void *context) {
    greg_t *registers = ((ucontext_t *)context)->uc_mcontext.gregs;
    char *address = info->si_addr;
    if (address < page || address >= page + PAGE) { signal(SIGSEGV, SIG_DFL); return; }
    noted[count++ % 4096] = (address - page) | (registers[REG_ERR] & WRITES ? 0x80000000u : 0);
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    registers[REG_EFL] |= STEP;
}

static void on_step(int number, siginfo_t *info, void *context) {
    mprotect(page, PAGE, PROT_NONE);
    ((ucontext_t *)context)->uc_mcontext.gregs[REG_EFL] &= ~(greg_t)STEP;
}

int guard(void *address) { return mprotect(address, PAGE, PROT_NONE); }

int watch(void *address) {
    struct sigaction action;
    memset(&action, 0, sizeof action);
    action.sa_flags = SA_SIGINFO;
    page = address;
    count = 0;
    action.sa_sigaction = on_access;
    sigaction(SIGSEGV, &action, 0);
    action.sa_sigaction = on_step;
    sigaction(SIGTRAP, &action, 0);
    return guard(address);
}

int unwatch(uint32_t *out) {
    mprotect(page, PAGE, PROT_READ | PROT_WRITE);
    memcpy(out, noted, sizeof noted);
    return count;
}
"""

PROBE = r"""
import ctypes, json, mmap, pathlib, sys
from dpnet.host.link.axi import MappedWords
from dpnet.host.link.axi_door import AxiTransport

trap, device = ctypes.CDLL(sys.argv[1]), pathlib.Path(sys.argv[2])
trap.watch.argtypes = trap.guard.argtypes = [ctypes.c_void_p]
noted = (ctypes.c_uint32 * 4096)()


def address(memory):
    return ctypes.addressof(ctypes.c_char.from_buffer(memory))


def accesses(memory, use):
    start = address(memory)
    assert trap.watch(start) == 0
    result = use()
    count = trap.unwatch(noted)
    return [["RW"[word >> 31], word & 0xFFF] for word in noted[:count]], result


found = {}
words = MappedWords("axi:test", device, 0)
found["read"] = accesses(words._map, lambda: words[0])
found["write"] = accesses(words._map, lambda: words.__setitem__(2, 0x89ABCDEF))
found["memory"] = bytes(words._map[:20]).hex()
port = AxiTransport("axi:test", words)
found["sent"] = accesses(words._map, lambda: port.write(bytes(12)))[0]
found["received"] = accesses(words._map, lambda: port.read(9, 0.0).hex())

# The last word before a page that cannot be read at all.
two = mmap.mmap(-1, 8192)
view = memoryview(two).cast("I")
view[1023] = 0x01234567
assert trap.guard(address(two) + 4096) == 0
found["edge"] = accesses(two, lambda: view[1023])
found["edge written"] = accesses(two, lambda: view.__setitem__(1023, 1))[0]

# What is not used, and why: the trap sees more than one access where there is more than one.
cell = ctypes.c_uint32.from_buffer(words._map, 8)
found["ctypes"] = accesses(words._map, lambda: setattr(cell, "value", 1))[0]
print(json.dumps(found))
"""


@pytest.fixture(scope="module")
def found(tmp_path_factory):
    """What the probe saw, in a process of its own: it handles its own faults."""
    folder = tmp_path_factory.mktemp("trap")
    (folder / "trap.c").write_text(TRAP)
    library, device = folder / "trap.so", folder / "door"
    subprocess.run(
        ["g++", "-x", "c", "-O1", "-shared", "-fPIC", "-o", library, folder / "trap.c"], check=True
    )
    registers = np.array([MAGIC, 512 << 16 | 3, 0, 1 << 31 | 0x5A, 0x77777777], "<u4")
    device.write_bytes(registers.tobytes().ljust(4096, b"\0"))
    done = subprocess.run(
        [sys.executable, "-c", PROBE, library, device],
        capture_output=True,
        text=True,
        timeout=PATIENCE_S,
        check=True,
        cwd=Path(__file__).parents[1],
    )
    return json.loads(done.stdout)


# Single steps are set up as x86-64 does it; elsewhere the same code of CPython is compiled.
if platform.machine() == "x86_64":

    def test_a_word_is_one_access(found):
        assert found["read"] == [[["R", 0]], MAGIC]
        assert found["write"] == [[["W", 8]], None]
        assert found["edge"] == [[["R", 4092]], 0x01234567], "and no byte of the next page"
        assert found["edge written"] == [["W", 4092]]

    def test_a_write_changes_its_word_only(found):
        registers = np.frombuffer(bytes.fromhex(found["memory"]), "<u4").tolist()
        assert registers == [MAGIC, 512 << 16 | 3, 0x89ABCDEF, 1 << 31 | 0x5A, 0x77777777]

    def test_a_transport_does_what_the_program_says_and_in_its_order(found):
        looks = [["R", 4], *[["R", 12]] * 3]
        assert found["sent"] == [*looks, *[["W", 8]] * 3], "TX is never read"
        assert found["received"] == [looks, "5a" * 6]

    def test_the_trap_counts(found):
        assert found["ctypes"] == [["R", 8], ["W", 8]]
