"""The page of a network: well-formed, whole, escaped, and its figures are the plan's."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from browser_kit import Browser, browser, opened_browser
from hypothesis import given, settings
from hypothesis import strategies as st
from map_image_kit import every_fact, image_of, small_network
from profile_kit import image_of as case_image
from profile_kit import small_case

from dpnet.host.page.document import page
from dpnet.host.page.drawing import Box, Edge, network_drawing
from dpnet.host.page.markup import element, raw
from dpnet.host.page.numbers import Axis, decibels, percent, places, short, size_text
from dpnet.host.page.overview import edges
from dpnet.host.page.subject import Subject, subject
from dpnet.model.compile.whole import compile_network
from dpnet.model.data.places import MissingDataError
from dpnet.model.engine.maps.costs import Bytes, Cycles, layer_costs
from dpnet.model.engine.maps.parameters import LANES, MapEngineParameters
from dpnet.model.engine.maps.placement import place, taps_at
from dpnet.model.engine.maps.plan import plan
from dpnet.model.engine.maps.records import PASS, TAP
from dpnet.model.engine.regions import Region
from dpnet.model.image.maps import MapImage
from dpnet.model.maps.accuracy import Accuracy
from dpnet.model.maps.layers import MapNetwork
from dpnet.model.maps.profile.records import Accuracies, Profile, ProfileError
from dpnet.model.networks.published import trained

pytestmark = pytest.mark.usefixtures("one_thread")

HOSTILE = "<script>alert(1)</script>&\"'\x1b[31m\u202e"
SHOWN = "<script>alert(1)</script>&\"'\\x1b[31m\\u202e"


def hostile(image: MapImage) -> MapImage:
    """The image, its first layer called what no name should be."""
    layers = list(image.network.layers)
    layers[0] = replace(layers[0], name=HOSTILE)
    network = replace(image.network, layers=tuple(layers))
    return replace(image, network=network, sources={}, about={HOSTILE: HOSTILE}, profile=None)


@pytest.fixture(scope="module")
def about() -> Subject:
    case = small_case()
    given = Accuracy(21, 40, {})
    return subject(case_image(case), "small.dpnet", 4321, case.profile, given)


def parsed(text: str) -> ElementTree.Element:
    """The page as XML, whose parser forgives nothing."""
    assert text.startswith("<!DOCTYPE html>\n")
    return ElementTree.fromstring(text)


def texts(root: ElementTree.Element) -> str:
    return " ".join("".join(root.itertext()).split())


def cells(root: ElementTree.Element) -> Iterator[list[str]]:
    table = root.find(".//table[@id='layers']")
    assert table is not None
    for row in table.iter("tr"):
        yield ["".join(cell.itertext()) for cell in row]


def test_the_table_has_the_figures_of_plan_and_image(about: Subject) -> None:
    head, *rows, foot = cells(parsed(page(about)))
    made = plan(about.image.engine, about.image.network)
    cycles, network = made.layer_cycles(), about.image.network
    assert [row[0] for row in rows] == [layer.name for layer in network.layers]
    for row, layer in zip(rows, network.layers, strict=True):
        told = dict(zip(head, row, strict=True))
        assert told["cycles"] == f"{cycles[layer.name]:,}"
        assert told["K"] == ("–" if layer.entries is None else str(layer.entries.shape[1]))
        size = (layer.rows, *network.tensor(layer.output).shape[1:])
        assert told["makes"] == " × ".join(map(str, size))
    total = dict(zip(head, foot, strict=True))
    weights = 3 * 6 * 9 + 6 * 6 * 9 + 6 * 9 + 6 * 4
    assert total["cycles"] == f"{made.cycles:,}" and total["weights"] == f"{weights:,}"
    assert total["float bytes"] == f"{4 * (weights + 3 * 6 + 4):,}"


def test_lanes_that_are_used(about: Subject) -> None:
    head, first, *_ = cells(parsed(page(about)))
    cycles = plan(about.image.engine, about.image.network).layer_cycles()["first"]
    share = 3 * 6 * 9 * 64 / (256 * cycles)
    assert dict(zip(head, first, strict=True))["lanes used"] == f"{100 * share:.1f} %"


def test_accuracies_and_errors_are_told(about: Subject) -> None:
    said, found = texts(parsed(page(about))), small_case().profile.accuracy
    assert found is not None
    labels = aria(page(about))
    for name, right in (("float", found.floats), ("codebooks", found.codebooks)):
        assert f"{name}: {100 * right / 30:.2f} %, {right}" in labels
    assert "52.50 %" in said and "40 pictures given to this report" in said
    for one in small_case().profile.layers:
        noise = one.noise
        ratio = 10 * np.log10(noise.signal / noise.integers)
        assert f"{one.name}: {ratio:.1f} dB" in labels


def aria(text: str) -> set[str]:
    return {one.get("aria-label", "") for one in parsed(text).iter("svg")}


def test_each_layer_has_what_links_lead_to(about: Subject) -> None:
    root = parsed(page(about))
    names = [one.get("id") for one in root.iter() if one.get("id")]
    assert len(names) == len(set(names))
    links = {one.get("href", "") for one in root.iter("a")}
    assert links == {f"#{name}" for name in names}


def test_every_chart_has_a_title_and_axes_with_units(about: Subject) -> None:
    root = parsed(page(about))
    figures = list(root.iter("figure"))
    assert len(figures) == 7 + 2 * 5 - 2 + len(about.image.network.tensors)
    for figure in figures:
        if figure.find(".//svg[@class='plot']") is not None:
            said = [one.text for one in figure.iter("text") if one.get("class") == "soft"]
            assert len(said) == 2
        else:
            caption = figure.find("figcaption")
            assert caption is not None and caption.text
            axes = [one for one in figure.iter("svg") if "axis:" in one.get("aria-label", "")]
            assert len(axes) == 1 and axes[0].find("text[@class='soft']") is not None


def test_nothing_is_fetched_and_nothing_runs(about: Subject) -> None:
    text = page(about)
    assert not re.search(r"https?:|//|url\(|@import|<script|\bon\w+=|\bsrc=", text)
    policy = parsed(text).find(".//meta[@http-equiv='Content-Security-Policy']")
    assert policy is not None and policy.get("content", "").startswith("default-src 'none'")


@pytest.mark.parametrize("image", [every_fact(), image_of(small_network(host=("softmax",)))])
def test_names_of_files_and_layers_are_escaped(image: MapImage) -> None:
    text = page(subject(hostile(image), HOSTILE, 100))
    root = parsed(text)
    assert texts(root).count(SHOWN) >= 3
    assert not list(root.iter("script")) and not list(root.iter("img"))
    assert "\x1b" not in text and "\u202e" not in text

    class Scripts(HTMLParser):
        def handle_starttag(self, tag: str, attrs: object) -> None:
            assert tag not in ("script", "img", "iframe", "object", "link")

    Scripts().feed(text)


def test_without_a_profile_it_says_so() -> None:
    image = image_of(small_network())
    said = texts(parsed(page(subject(image, "net.dpnet", 100))))
    assert "carries no profile" in said and "No pictures with labels were given" in said
    assert "Where accuracy is lost" not in said


EXTREME = st.sampled_from([0, 1, 7, (1 << 53) - 1, 1e250, -1e250, 5e-324, -3.5e-300, 0.5])


@settings(deadline=None, max_examples=25)
@given(st.lists(st.tuples(st.integers(0, 400), EXTREME), min_size=1, max_size=8))
def test_whatever_numbers_a_profile_has(changes: list[tuple[int, float]]) -> None:
    case = small_case()
    document = case.profile.to_json()
    for number, value in changes:
        holders = [holder for holder in numbers_of(document)]
        holder, key = holders[number * 7919 % len(holders)]
        holder[key] = value
    try:
        found = Profile.from_json(document)
    except ProfileError:
        return
    parsed(page(subject(case_image(case), "net.dpnet", 1, found)))


def numbers_of(document: Any) -> Iterator[tuple[Any, Any]]:
    """Where numbers are: what holds them, and under which key."""
    inner = document.items() if isinstance(document, dict) else enumerate(document)
    for key, value in inner:
        if isinstance(value, (dict, list)):
            yield from numbers_of(value)
        elif isinstance(value, (int, float)) and not isinstance(value, bool):
            yield document, key


@pytest.mark.parametrize("scale", [1e308, 5e-324, 1.0])
def test_whatever_scales_an_image_has(scale: float) -> None:
    case = small_case()
    image = case_image(case)
    tensors = tuple(replace(one, scale=scale) for one in image.network.tensors)
    scales = {name: replace(one, scale=scale) for name, one in image.calibration.items()}
    network = replace(image.network, tensors=tensors)
    changed = replace(image, network=network, calibration=scales)
    parsed(page(subject(changed, "net.dpnet", 1, case.profile)))


def test_the_drawing_leads_from_what_is_read_to_what_reads_it(about: Subject) -> None:
    assert edges(about.image.network) == [
        Edge(0, 1), Edge(1, 2), Edge(1, 2, skip=True), Edge(2, 3), Edge(3, 4), Edge(4, 5),
        Edge(5, 6),
    ]  # fmt: skip
    fact = replace(every_fact().network, host=("softmax", "argmax"))
    assert edges(fact) == [
        Edge(0, 1), Edge(1, 2), Edge(1, 3), Edge(2, 4), Edge(3, 4), Edge(4, 5),
    ]  # fmt: skip


def test_what_is_read_and_added_has_two_arrows() -> None:
    boxes = [Box(name, "", "", "") for name in ("one", "other")]
    drawn = network_drawing(boxes, [Edge(0, 1), Edge(0, 1, skip=True)])
    lines = [one for one in ElementTree.fromstring(drawn.text).iter("path") if one.get("class")]
    assert [one.get("class") for one in lines] == ["edge", "skip"]
    assert [" C " in one.get("d", "") for one in lines] == [False, True]


def test_arcs_do_not_run_into_each_other() -> None:
    boxes = [Box(f"b{n}", "", "", "") for n in range(6)]
    drawn = network_drawing(boxes, [Edge(0, 2), Edge(1, 3), Edge(0, 5, skip=True), Edge(3, 5)])
    lines = [one.get("d", "") for one in ElementTree.fromstring(drawn.text).iter("path")]
    far = [re.search(r" (\S+) \d+ V", line) for line in lines]
    lanes = [float(found[1]) for found in far if found]
    assert len(lanes) == 4
    by_edge = dict(zip([(0, 2), (0, 5), (1, 3), (3, 5)], lanes, strict=True))
    assert by_edge[0, 2] != by_edge[1, 3] and by_edge[1, 3] != by_edge[0, 5]
    assert by_edge[3, 5] != by_edge[0, 5]


@pytest.mark.parametrize("streams", [1, 2])
def test_costs_add_up_to_the_plan_and_the_stores(streams: int) -> None:
    params = MapEngineParameters(streams=streams)
    for network in (small_network(), every_fact().network, small_case().compiled.network):
        placement = place(params, network)
        costs = layer_costs(placement)
        cycles = sum((one for one, _ in costs), Cycles())
        assert cycles.total == placement.plan.cycles
        assert_by_layer(network, [one for one, _ in costs], params)
        loaded = sum((one for _, one in costs), Bytes())
        words = placement.words
        assert loaded.codebooks == 4 * len(words[Region.CODEBOOK])
        assert loaded.rows == 4 * len(words[Region.ROWS])
        taps = len(words[Region.LAYERS]) - taps_at(params)
        assert loaded.descriptors == 4 * (PASS.words * len(placement.plan.passes) + taps)
        assert taps % TAP.words == 0
        if streams == 1:
            assert loaded.indices == 4 * len(words[Region.INDEX])


def assert_by_layer(network: MapNetwork, costs: list[Cycles], params: MapEngineParameters) -> None:
    wanted = plan(params, network).layer_cycles()
    for layer, cycles in zip(network.layers, costs, strict=True):
        copies = wanted.get(f"copy of {layer.output}", 0)
        assert cycles.total in (wanted[layer.name], wanted[layer.name] + copies)
        assert min(vars(cycles).values()) >= 0


def test_a_single_layer_by_hand() -> None:
    """A 1 × 1 layer of one row group, 4 positions: two groups of two, one tile of 3 additions."""
    network = small_network()
    first = network.layers[0]
    [[cycles, loaded], *_] = layer_costs(place(MapEngineParameters(), network))
    # 64 positions in 32 groups of 2, on 8 stages: 4 tiles of max(27 + 16, 128) cycles.
    assert first.indices is not None and first.indices.shape == (6, 27)
    assert cycles == Cycles(adds=4 * 27, drains=4 * (128 - 27), waits=0, start=40, end=0)
    # 5 values need 3 bits, which are stored as 4: a word for each addition.
    taps = 4 * TAP.words * 9
    assert loaded == Bytes(8 * 27, 4 * LANES * LANES, 4 * 4 * LANES, 4 * PASS.words + taps)


def test_texts_and_attributes_are_escaped() -> None:
    made = element("p", "a<b", [element("br"), 3, None], class_="x\"'", data_of=None, z_index=1)
    assert made.text == '<p class="x&quot;&#x27;" z-index="1">a&lt;b<br/>3</p>'
    with pytest.raises(ValueError, match=r"^text that is not escaped must have no < and no &$"):
        raw("a</style>")


@pytest.mark.parametrize(
    "low, high, ticks",
    [
        (0.0, 10.3, [0, 5, 10]),
        (-0.2, 0.21, [-0.2, -0.1, 0, 0.1, 0.2]),
        (5.0, 5.0, [3, 4, 5, 6, 7]),
        (0.0, 0.0, [-0.4, -0.2, 0, 0.2, 0.4]),
    ],
)
def test_ticks_are_round(low: float, high: float, ticks: list[float]) -> None:
    axis = Axis.over(low, high)
    np.testing.assert_allclose(axis.ticks, ticks, atol=1e-12)
    assert axis.at(axis.low) == 0 and axis.at(axis.high) == 1
    assert axis.at(axis.high + 1) == 1


@pytest.mark.parametrize("high, end", [(0, 1), (7, 8), (100, 100), (10249, 12000), (3e-7, 3e-7)])
def test_axes_from_zero_end_at_a_tick(high: float, end: float) -> None:
    axis = Axis.from_zero(high)
    assert axis.high == pytest.approx(end) and axis.ticks[-1] == pytest.approx(end)


def test_counts_have_whole_ticks() -> None:
    assert Axis.from_zero(1, 3, whole=True).ticks == (0, 1)
    assert Axis.from_zero(7, 3, whole=True).ticks == (0, 5, 10)


def test_numbers_as_people_read_them() -> None:
    assert [percent(x) for x in (0, 1e-6, 0.123, 1)] == ["0 %", "< 0.1 %", "12.3 %", "100.0 %"]
    assert [short(x) for x in (12345, 0.012346, 1e-7, 0)] == ["12,345", "0.01235", "1e-07", "0"]
    assert [places(x) for x in (2000, 1e4, 2.5e6, 0.5)] == ["2000", "10k", "2.5M", "0.5"]
    assert [size_text(n) for n in (812, 12345, 1234567)] == ["812 bytes", "12.3 kB", "1.23 MB"]
    assert decibels(10, 1) == pytest.approx(10) and decibels(1e-300, 1e-305) is not None
    assert decibels(1, 0) is None and decibels(0, 1) is None


@pytest.fixture(scope="module")
def shown() -> Iterator[Browser]:
    program = browser()
    if program is None:
        pytest.skip("no chromium on this machine")
    with opened_browser(program) as found:
        yield found


def test_a_browser_asks_for_nothing_and_complains_of_nothing(
    shown: Browser, about: Subject, tmp_path: Path
) -> None:
    path = tmp_path / "small.html"
    path.write_text(page(about), encoding="utf-8")
    shown.open(path)
    assert set(shown.requests) == {path.as_uri()} and shown.complaints == []
    rows = shown.value(
        "[...document.querySelectorAll('#layers tbody tr')]"
        ".map(row => [...row.cells].map(cell => cell.innerText))"
    )
    cycles = plan(about.image.engine, about.image.network).layer_cycles()
    assert {row[0]: row[9] for row in rows} == {name: f"{n:,}" for name, n in cycles.items()}
    bits = shown.value("document.querySelectorAll('h2').length")
    assert bits == len(list(parsed(page(about)).iter("h2")))


def test_it_can_be_read_in_the_dark_on_a_telephone_and_on_paper(
    shown: Browser, about: Subject, tmp_path: Path
) -> None:
    path = tmp_path / "small.html"
    path.write_text(page(about), encoding="utf-8")
    for width in (400, 1400):
        shown.open(path, width)
        assert shown.value("document.documentElement.scrollWidth") <= width
    assert brightness(shown) > 0.9
    shown.open(path, scheme="dark")
    assert brightness(shown) < 0.2
    assert shown.printed().startswith(b"%PDF")


def brightness(shown: Browser) -> float:
    """Of the page's background."""
    color = shown.value("getComputedStyle(document.body).backgroundColor")
    red, green, blue = map(int, re.findall(r"\d+", color)[:3])
    return (red + green + blue) / (3 * 255)


def test_hostile_names_run_nothing_in_a_browser(shown: Browser, tmp_path: Path) -> None:
    path = tmp_path / "hostile.html"
    path.write_text(page(subject(hostile(every_fact()), HOSTILE, 9)), encoding="utf-8")
    shown.requests.clear()
    shown.open(path)
    assert set(shown.requests) == {path.as_uri()} and shown.complaints == []
    assert shown.value("document.scripts.length") == 0
    assert shown.value("document.querySelector('h1').innerText") == SHOWN


@pytest.mark.long
def test_resnet_8_in_a_browser(shown: Browser, tmp_path: Path) -> None:
    """The published weights; any pixels do for what is looked at here."""
    try:
        net = trained("resnet-8")
    except MissingDataError as error:
        pytest.skip(str(error))
    pixels = np.random.default_rng(1).integers(0, 256, (16, 3, 32, 32)).astype(np.float32)
    image = compile_network(net, calibration=pixels)
    assert isinstance(image, MapImage) and image.profile is not None
    path = tmp_path / "resnet-8.html"
    size = image.save(tmp_path / "resnet-8.dpnet")
    path.write_text(page(subject(image, "resnet-8", size, image.profile)), encoding="utf-8")
    shown.requests.clear()
    shown.open(path, 400)
    assert set(shown.requests) == {path.as_uri()} and shown.complaints == []
    assert shown.value("document.documentElement.scrollWidth") == 400
    total = shown.value("document.querySelector('#layers tfoot tr').cells[9].innerText")
    # As decision 0012 says.
    assert total == f"{plan(image.engine, image.network).cycles:,}" == "65,054"


@pytest.mark.parametrize(
    "floats, integers, text",
    [
        (30, 29, "right in integers, 2.50 points less than float"),
        (30, 30, "right in integers, as many of 40 pictures as in float"),
        (30, 31, "right in integers, 2.50 points more than float"),
    ],
)
def test_accuracy_beside_floats(about: Subject, floats: int, integers: int, text: str) -> None:
    assert about.profile is not None
    profile = replace(about.profile, accuracy=Accuracies(40, floats, 30, integers))
    assert text in texts(parsed(page(replace(about, profile=profile))))
