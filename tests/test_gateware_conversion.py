"""Yosys in this process prints what it prints when it is started."""

from types import SimpleNamespace

import pytest
from amaranth._toolchain.yosys import YosysError, find_yosys

from dpnet.gateware.conversion import run_script

YOSYS = find_yosys(lambda version: version >= (0, 40))
MODULE = """
read_rtlil <<rtlil
module \\{name}
  wire width 4 input 1 \\i
  wire width 4 output 2 \\o
  connect \\o \\i
end
rtlil
write_verilog
"""


@pytest.mark.parametrize("name", ["one", "another"])
def test_it_prints_what_it_prints_when_it_is_started(name):
    script = MODULE.format(name=name)
    printed = run_script(YOSYS, script)
    assert f"module {name}(" in printed
    assert printed == YOSYS.run(["-q", "-"], script, ignore_warnings=True)


def test_nothing_of_a_script_is_left_for_the_next():
    run_script(YOSYS, MODULE.format(name="one"))
    assert "module one" not in run_script(YOSYS, "write_verilog\n")


def test_a_script_that_fails_is_an_error_with_its_message():
    with pytest.raises(YosysError, match="No such command: no_command"):
        run_script(YOSYS, "no_command\n")


def test_another_yosys_is_started():
    calls = []
    other = SimpleNamespace(run=lambda *call, **options: calls.append((call, options)) or "text")
    assert run_script(other, "a script") == "text"
    assert calls == [((["-q", "-"], "a script"), {"ignore_warnings": True})]
