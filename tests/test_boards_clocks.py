"""PLL and MMCM settings: every frequency that can be made, exactly, within the data sheets' limits;
what the primitive is told is what was found."""

from fractions import Fraction

import numpy as np
import pytest
from amaranth.hdl import Signal

from dpnet.boards.ecp5.pll import find_pll
from dpnet.boards.series7.clocking import find_mmcm

# FPGA-DS-02012: phase detector 10 to 400 MHz, oscillator 400 to 800, outputs 3.125 to 400;
# dividers 1 to 128, of the feedback 1 to 80.
ECP5_OSCILLATORS = (12, 25, 48)


def ecp5_frequencies(source):
    """All that the data sheet allows, by brute force: oscillators are multiples of what the phase
    detector compares, `feedback` times the divider of the output that is fed back (CLKOP or
    CLKOS)."""
    products = sorted({feedback * back for feedback in range(1, 81) for back in range(1, 129)})
    oscillators = {
        Fraction(source * product, ref)
        for ref in range(1, 129)
        if 10 * ref <= source <= 400 * ref
        for product in products
        if 400 * ref <= source * product <= 800 * ref
    }
    made = {vco / output for vco in oscillators for output in range(1, 129)}
    return {mhz for mhz in made if Fraction(25, 8) <= mhz <= 400}


@pytest.fixture(scope="module")
def possible():
    return {source: ecp5_frequencies(source) for source in ECP5_OSCILLATORS}


def usual_first(usual, sources):
    """The oscillator of a board that is built for, and the others: `make test-long`."""
    others = (pytest.param(n, marks=pytest.mark.long) for n in sources if n != usual)
    return pytest.mark.parametrize("source", [usual, *others])


@usual_first(25, ECP5_OSCILLATORS)
def test_every_whole_megahertz_that_an_ecp5_can_make_is_made_and_no_other(possible, source):
    made, all_of_them = 0, np.array(sorted(map(float, possible[source])))
    for mhz in range(4, 401):
        if mhz not in possible[source]:
            with pytest.raises(ValueError) as caught:
                find_pll(input_mhz=source, mhz=mhz)
            stated = float(str(caught.value).rpartition(" ")[2])
            assert abs(stated - mhz) == pytest.approx(np.abs(all_of_them - mhz).min(), abs=1e-6)
            continue
        pll = find_pll(input_mhz=source, mhz=mhz)
        assert pll.mhz == mhz
        assert 10 <= Fraction(source, pll.ref) <= 400
        assert 400 <= pll.vco_mhz <= 800
        assert 1 <= pll.ref <= 128 and 1 <= pll.feedback <= 80 and 1 <= pll.output <= 128
        assert pll.second is None or 1 <= pll.second <= 128
        made += 1
    assert made > 40


def test_the_frequencies_that_need_a_second_output():
    """With the output itself fed back the detector would run at 5 or 6.25 MHz."""
    for mhz in (30, 40, 45, 55, 60, 70, 80):
        pll = find_pll(input_mhz=25, mhz=mhz)
        assert (pll.mhz, pll.second is not None) == (mhz, True)
        assert pll.phase_detector_mhz >= 10
    for mhz in (12.5, 25, 37.5, 50, 62.5, 75, 100, 125):
        assert find_pll(input_mhz=25, mhz=mhz).second is None


@pytest.mark.parametrize("mhz", [12.5, 31.25, 33.333333, 37.5, 62.5, 66.666666666, 87.5, 112.5])
def test_fractions_of_a_megahertz(possible, mhz):
    pll = find_pll(input_mhz=25, mhz=mhz)
    assert abs(float(pll.mhz) - mhz) < 1e-6 and pll.mhz in possible[25]


@pytest.mark.parametrize(
    "mhz, nearest", [(50.1, "50"), (500, "400"), (2, "3.125"), (41, "40.9722222")]
)
def test_a_clock_that_the_pll_cannot_make_is_refused_with_the_nearest(mhz, nearest):
    with pytest.raises(ValueError) as caught:
        find_pll(input_mhz=25, mhz=mhz)
    assert str(caught.value) == (
        f"mhz must be a frequency that the PLL makes of 25 MHz, not {mhz!r}; "
        f"the nearest is {nearest}"
    )
    find_pll(input_mhz=25, mhz=float(nearest))


@pytest.mark.parametrize("find", [find_pll, find_mmcm])
def test_oscillators_that_no_phase_detector_takes(find):
    with pytest.raises(ValueError, match=r"^input_mhz must be from 10 to 4\d0, not 8$"):
        find(input_mhz=8, mhz=50)


def primitive(settings):
    """(its name, its parameters, the signals at its ports)."""
    instance = settings.instance(i=Signal(), o=Signal(), locked=Signal())
    ports = {name: value for name, (value, _) in instance.ports.items()}
    return instance.type, dict(instance.parameters), ports


@usual_first(25, ECP5_OSCILLATORS)
def test_the_primitive_locks_where_its_output_is_what_was_asked_for(possible, source):
    """The loop of an EHXPLLL, by its parameters and wires alone: the detector's two inputs are
    equal, CLKI / CLKI_DIV = CLKFB / CLKFB_DIV, and what is wired to CLKFB is the oscillator
    divided by the divider of the output that it comes from."""
    paths = set()
    for mhz in range(4, 401):
        if mhz not in possible[source]:
            continue
        kind, parameters, ports = primitive(find_pll(input_mhz=source, mhz=mhz))
        assert kind == "EHXPLLL"
        path = parameters["FEEDBK_PATH"]
        wired = [name for name in ("CLKOP", "CLKOS") if ports.get(name) is ports["CLKFB"]]
        assert wired == [path], "what is fed back is what is named"
        assert parameters["CLKOP_ENABLE"] == parameters[f"{path}_ENABLE"] == "ENABLED"
        detector = Fraction(source, parameters["CLKI_DIV"])
        fed_back = detector * parameters["CLKFB_DIV"]
        oscillator = fed_back * parameters[f"{path}_DIV"]
        assert 10 <= detector <= 400 and 400 <= oscillator <= 800
        assert oscillator / parameters["CLKOP_DIV"] == mhz
        assert fed_back == oscillator / parameters[f"{path}_DIV"] and 8 <= fed_back <= 400
        paths.add(path)
    assert "CLKOP" in paths and ("CLKOS" in paths or source == 12)


# DS181, speed grade 1: phase detector 10 to 450 MHz, oscillator 600 to 1,200; dividers in eighths,
# 2 to 64 and 2 to 128.
@usual_first(200, [12, 50, 100, 125, 200])
def test_every_whole_megahertz_that_an_mmcm_can_make_is_made_and_no_other(source):
    oscillators = [
        vco for eighths in range(16, 513) if 600 <= (vco := Fraction(source * eighths, 8)) <= 1200
    ]
    made = 0
    for mhz in range(10, 251):
        exact = [vco for vco in oscillators if (vco * 8 / mhz).denominator == 1]
        if not exact:
            with pytest.raises(ValueError, match=r"; the nearest is [\d.]+$"):
                find_mmcm(input_mhz=source, mhz=mhz)
            continue
        mmcm = find_mmcm(input_mhz=source, mhz=mhz)
        assert mmcm.mhz == mhz and mmcm.vco_mhz in exact
        assert 16 <= mmcm.divide <= 1024 and 16 <= mmcm.multiply <= 512
        whole = [v for v in exact if (v / source).denominator == (v / mhz).denominator == 1]
        assert (mmcm.fractions == 0) == bool(whole), "older openXC7 makes whole dividers best"
        made += 1
    assert made > 40


def test_an_mmcm_says_its_phases():
    """nextpnr-xilinx took 1 degree for those that were not said."""
    kind, parameters, ports = primitive(find_mmcm(input_mhz=100, mhz=50))
    assert kind == "MMCME2_BASE"
    assert parameters == {
        "CLKIN1_PERIOD": 10.0,
        "CLKFBOUT_MULT_F": 10.0,
        "CLKFBOUT_PHASE": 0.0,
        "DIVCLK_DIVIDE": 1,
        "CLKOUT0_DIVIDE_F": 20.0,
        "CLKOUT0_PHASE": 0.0,
    }
    # Reals, as their ports' types are: an integer would be a vector.
    assert all(type(v) is float for name, v in parameters.items() if name != "DIVCLK_DIVIDE")
    assert ports["CLKFBIN"] is ports["CLKFBOUT"]
    assert [ports[name].value for name in ("RST", "PWRDWN")] == [0, 0]


@pytest.mark.parametrize(
    "source, mhz, nearest",
    [(100, 99, "98.9690722"), (200, 81, "81.0126582"), (100, 300, "250"), (100, 5, "10")],
)
def test_a_clock_that_the_mmcm_cannot_make_is_refused_with_the_nearest(source, mhz, nearest):
    with pytest.raises(ValueError) as caught:
        find_mmcm(input_mhz=source, mhz=mhz)
    assert str(caught.value) == (
        f"mhz must be a frequency from 10 to 250 that the MMCM makes of {source} MHz, not {mhz!r}; "
        f"the nearest is {nearest}"
    )
    find_mmcm(input_mhz=source, mhz=float(nearest))
