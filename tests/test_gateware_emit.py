"""Names of modules: equal only for equal text."""

import re
from types import SimpleNamespace

import pytest
from amaranth.back import rtlil
from amaranth.hdl import Module
from amaranth.lib import wiring
from amaranth.lib.wiring import In, Out

from dpnet.gateware import emit as emitting
from dpnet.gateware.core import ArrayCore
from dpnet.gateware.emit import component_key, emit, place
from dpnet.model.engine.parameters import EngineParameters


class Wire(wiring.Component):
    """`o` is `i`, inverted if `_odd`, which its key does not show."""

    def __init__(self, *, width, odd=False):
        self.width = width
        self._odd = odd
        super().__init__({"i": In(width), "o": Out(width)})

    def elaborate(self, platform):
        m = Module()
        m.d.comb += self.o.eq(~self.i if self._odd else self.i)
        return m


class Pair(wiring.Component):
    """Two components, one behind the other."""

    def __init__(self, *, parts):
        self._parts = parts
        super().__init__({"i": In(4), "o": Out(4)})

    def elaborate(self, platform):
        m = Module()
        value = self.i
        for n, part in enumerate(self._parts):
            placed = place(m, part, f"part_{n}")
            m.d.comb += placed.i.eq(value)
            value = placed.o
        m.d.comb += self.o.eq(value)
        return m


def another(name, module, **members):
    """A class that differs from `Wire` where `members` say so."""
    return type(name, (Wire,), {"__module__": module, "__qualname__": name, **members})


def test_equal_components_are_one_module():
    text = emit(Pair(parts=[Wire(width=4), Wire(width=4)]))
    assert len(re.findall(r"^module wire_", text, re.MULTILINE)) == 1


def test_the_key_names_the_module_in_which_a_class_is_defined():
    here, there = another("Wire", "here.wires"), another("Wire", "there.wires")
    keys = {component_key(kind(width=4)) for kind in (here, there)}
    assert keys == {"here.wires.Wire[('width', 4)]", "there.wires.Wire[('width', 4)]"}
    text = emit(Pair(parts=[here(width=4), there(width=4)]))
    assert len(re.findall(r"^module wire_", text, re.MULTILINE)) == 2


def test_two_classes_of_one_name_are_refused():
    one, other = (another("Wire", "one.place") for _ in range(2))
    with pytest.raises(
        ValueError, match=re.escape("two different components have the key one.place.Wire[")
    ):
        emit(Pair(parts=[one(width=4), other(width=4)]))


def test_equal_keys_with_different_ports_are_refused():
    class Hidden(Wire):
        def __init__(self, *, width):
            super().__init__(width=width)
            self.width = "hidden"

    with pytest.raises(ValueError, match=r"two different components have the key .*Hidden"):
        emit(Pair(parts=[Hidden(width=4), Hidden(width=3)]))


def test_equal_names_with_different_text_are_refused(monkeypatch):
    """With every component converted anew, what the key does not show is seen in the text."""
    convert_always(monkeypatch)
    with pytest.raises(ValueError, match=r"two different modules have the name wire_[0-9a-f]{8}"):
        emit(Pair(parts=[Wire(width=4), Wire(width=4, odd=True)]))


def test_a_top_of_the_name_of_a_module_in_it_is_refused():
    text = emit(Pair(parts=[Wire(width=4)]))
    [name] = re.findall(r"^module (wire_\w+)", text, re.MULTILINE)
    with pytest.raises(ValueError, match=f"two different modules have the name {name}"):
        emit(Pair(parts=[Wire(width=4)]), name)


@pytest.mark.parametrize("value", [[1, 2], {"a": 1}, SimpleNamespace(a=1), object()])
def test_a_parameter_without_a_value_of_its_own_is_refused(value):
    component = Wire(width=4)
    component.extra = value
    message = f"extra of Wire must be a value that can be hashed, not {value!r}"
    with pytest.raises(TypeError, match=re.escape(message)):
        component_key(component)


@pytest.mark.whole
@pytest.mark.parametrize("lockstep", [False, True])
def test_no_component_of_an_engine_has_text_that_its_key_does_not_show(monkeypatch, lockstep):
    """Every component converted as often as it is placed: one text for each name.  Without Yosys,
    which makes the same of the same."""
    convert_always(monkeypatch)
    monkeypatch.setattr(
        emitting, "_verilog", lambda component, name: rtlil.convert(component, name=name)
    )
    engine = EngineParameters(
        stages=2,
        columns=3,
        segments=2,
        index_depth=32,
        max_columns=32,
        slots=4,
        result_slots=4,
        vector_words=64,
        layers=2,
        bank=2,
        row_beats=2,
        dsp_columns=1,
        lockstep=lockstep,
    )
    names = re.findall(r"^module (\S+)", emit(ArrayCore(engine=engine)), re.MULTILINE)
    assert len(names) == len(set(names)) > 20


def convert_always(monkeypatch):
    class Forgets(dict):
        def __contains__(self, key):
            return False

    monkeypatch.setattr(emitting, "_cache", Forgets())


def test_a_conversion_is_kept_by_its_content(tmp_path, monkeypatch):
    """And by the version of Yosys; another process finds it."""
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    runs = []

    class Yosys:
        @classmethod
        def version(cls):
            return (1, len(runs) // 10)

        @staticmethod
        def run(arguments, script, *, ignore_warnings):
            runs.append(script)
            return f"module top; // ä {len(runs)}"

    for content, count in (("a", 1), ("a", 1), ("b", 2), ("a", 1)):
        assert emitting._kept(content, Yosys) == f"module top; // ä {count}"
    assert len(runs) == 2 and len(list((tmp_path / "verilog").iterdir())) == 2
    emitting._version.cache_clear()
    runs += [""] * 10
    assert emitting._kept("a", Yosys) == "module top; // ä 13"


def test_a_build_folder_that_takes_nothing_is_no_error(tmp_path, monkeypatch):
    (tmp_path / "verilog").write_text("a file")
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    text = emit(Pair(parts=[Wire(width=4)]))
    assert "module top" in text and (tmp_path / "verilog").read_text() == "a file"
