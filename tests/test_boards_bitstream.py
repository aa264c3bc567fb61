"""`make bitstream`: what it takes, what it writes, and that nothing old passes for new."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest

from dpnet.boards import bitstream
from dpnet.boards.board import Board, BuildOptions, Built, board_names, find_board
from dpnet.boards.tool import ToolError
from dpnet.host.cli import main as dpnet
from dpnet.host.maps.engines import parse_engine
from dpnet.model.engine.devices import BOARDS, KINDS, XC7Z020
from dpnet.model.engine.maps.parameters import MapEngineParameters
from dpnet.model.engine.parameters import EngineParameters

ENGINES = "array, maps, maps?NAME=N&NAME=N or sim://maps?…"
SIZES = ", ".join(asdict(MapEngineParameters()))


class PretendBoard:
    """Writes a bitstream of what it was told; `error` is raised after half of it, `missing` is the
    tool that is not there."""

    name = "pretend"
    title = "Pretend board"
    toolchains = ("good", "better")
    doors = ("uart", "axi")
    revisions = ("A", "B2")
    device = XC7Z020
    engine = EngineParameters(stages=2, columns=3, segments=4)
    maps = MapEngineParameters(clusters=3, stages=5, multiplier="18x18")
    error: BaseException | None = None
    missing: str | None = None

    def build(self, *, engine, toolchain, folder, options):
        assert list(folder.iterdir()) == []
        (folder / "sub").mkdir()
        (folder / "sub" / "design.v").write_text(f"// {engine.lanes} lanes")
        if self.missing is None:
            (folder / "dpnet.bit").write_text(f"{toolchain} {options.seed}")
        if self.error is not None:
            raise self.error
        return Built(
            bitstream=None if self.missing else folder / "dpnet.bit",
            files=(folder / "sub" / "design.v",),
            clock_hz=50e6,
            mhz=None if self.missing else 61.25,
            used={"lut": 250, "magic": 3},
            available={"lut": 1000},
            notes=("a note",),
            missing=self.missing,
        )


@pytest.fixture
def board(tmp_path, monkeypatch):
    """The board, which is the only one; results go to tmp_path."""
    board = PretendBoard()
    monkeypatch.setenv("DPNET_BUILD", str(tmp_path))
    monkeypatch.setattr(bitstream, "find_board", lambda name: board)
    return board


def files(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def test_a_build_is_handed_over_whole(board, tmp_path, capsys):
    assert bitstream.main(["pretend", "--columns", "5", "--toolchain", "better"]) == 0
    out, err = capsys.readouterr()
    folder = tmp_path / "pretend"
    assert files(folder) == ["build.json", "dpnet.bit", "sub/design.v"]
    assert [path.name for path in folder.iterdir() if path.name.startswith("part-")] == []
    assert (folder / "sub" / "design.v").read_text() == "// 40 lanes"
    assert (folder / "dpnet.bit").read_text() == "better 1"
    assert "Pretend board: 2 × 5 × 4 lanes (stages × columns × segments)" in err
    assert out.splitlines()[2:] == [
        "clock 50 MHz; reaches 61.2 MHz",
        "lut              250 of 1,000 (25.0 %)",
        "magic              3",
        "a note",
    ]
    document = json.loads((folder / "build.json").read_text())
    assert (document["bitstream"], document["files"]) == ("dpnet.bit", ["sub/design.v"])
    assert (document["mhz"], document["clock_hz"], document["missing"]) == (61.25, 50e6, None)
    assert document["engine"]["columns"] == 5 and document["options"]["seed"] == 1


@pytest.mark.parametrize(
    "engine, clusters, stages",
    [
        ("maps", 3, 5),
        ("maps?stages=4", 3, 4),
        ("maps?clusters=2&stages=8", 2, 8),  # those that engines have that are not named
    ],
)
def test_the_boards_map_engine_or_one_in_other_sizes(
    board, tmp_path, capsys, engine, clusters, stages
):
    assert bitstream.main(["pretend", "--engine", engine]) == 0
    out, err = capsys.readouterr()
    lanes = f"{clusters} × {stages} × 16 lanes (clusters × stages × 16)"
    assert f"Pretend board: a map engine of {lanes}" in err
    made = json.loads((tmp_path / "pretend" / "build.json").read_text())
    wanted = MapEngineParameters(clusters=clusters, stages=stages, multiplier="18x18")
    assert made["engine"] == asdict(wanted)
    assert parse_engine(made["url"]) == wanted, "what dpnet compile is told"
    assert out.splitlines()[-2:] == [
        f"a network for it: dpnet compile … --engine '{made['url']}'",
        f"the same in simulation: dpnet run … --port '{made['url']}'",
    ]
    text = (tmp_path / "pretend" / "sub" / "design.v").read_text()
    assert text == f"// {16 * clusters * stages} lanes"


def test_a_url_names_a_whole_map_engine_and_not_the_boards(board, tmp_path):
    """As dpnet plan and dpnet compile say it: what is not in it is as everywhere."""
    assert bitstream.main(["pretend", "--engine", "sim://maps?taps=640"]) == 0
    made = json.loads((tmp_path / "pretend" / "build.json").read_text())
    assert made["engine"] == asdict(MapEngineParameters(taps=640))
    assert made["url"] == "sim://maps?taps=640"
    assert made["command"] == "make bitstream BOARD=pretend ENGINE='sim://maps?taps=640'"


def test_json_is_what_is_in_the_file(board, tmp_path, capsys):
    assert bitstream.main(["pretend", "--seed", "7", "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    assert printed == json.loads((tmp_path / "pretend" / "build.json").read_text())
    assert printed["options"]["seed"] == 7


@pytest.mark.parametrize(
    "error, code, text",
    [
        (ToolError("nextpnr failed: no room"), 3, "nextpnr failed: no room"),
        (ValueError("mhz must be 5"), 2, "mhz must be 5"),
        (KeyboardInterrupt(), 130, "interrupted; the same command goes on where it was"),
    ],
)
def test_after_a_failure_there_is_no_bitstream_not_even_an_old_one(
    board, tmp_path, capsys, error, code, text
):
    assert bitstream.main(["pretend"]) == 0
    (tmp_path / "pretend" / "mine.txt").write_text("not the command's")
    board.error = error
    capsys.readouterr()
    assert bitstream.main(["pretend"]) == code
    out, err = capsys.readouterr()
    assert out == "" and err.splitlines()[-1] == f"bitstream: {text}"
    assert files(tmp_path / "pretend") == ["mine.txt"]


def test_without_a_tool_everything_else_is_there_and_it_fails(board, tmp_path, capsys):
    assert bitstream.main(["pretend"]) == 0
    board.missing = "no Vivado; buy one"
    capsys.readouterr()
    assert bitstream.main(["pretend"]) == 3
    out, err = capsys.readouterr()
    assert err.splitlines()[-1] == "bitstream: no bitstream: no Vivado; buy one"
    assert "clock 50 MHz; not placed and routed" in out and "sub/design.v" in out
    assert files(tmp_path / "pretend") == ["build.json", "sub/design.v"]
    document = json.loads((tmp_path / "pretend" / "build.json").read_text())
    assert (document["bitstream"], document["mhz"]) == (None, None)
    assert document["missing"] == "no Vivado; buy one"


@pytest.mark.parametrize(
    "arguments, text",
    [
        (["--toolchain", "best"], "toolchain of pretend must be good or better, not 'best'"),
        (["--door", "usb"], "door of pretend must be uart or axi, not 'usb'"),
        (["--revision", "C"], "revision of pretend must be A or B2, not 'C'"),
        (["--seed", "0"], "seed must be a positive integer, not 0"),
        (["--mhz", "-3"], "mhz must be a positive number, not -3.0"),
        (["--columns", "0"], "columns must be an integer from 1 to 1024, not 0"),
        (["--engine", "mops"], f"engine must be {ENGINES}, not 'mops'"),
        (["--engine", "auto"], f"engine must be {ENGINES}, not 'auto'"),
        (["--engine", "sim://array"], f"engine must be {ENGINES}, not 'sim://array'"),
        (["--engine", "maps?lanes=4"], f"engine must be maps with sizes of {SIZES}, not 'lanes'"),
        (
            ["--engine", "maps?stages=65"],
            "engine must be an engine that can be built: "
            "stages must be an integer from 1 to 64, not 65",
        ),
        (
            ["--engine", "maps", "--columns", "5", "--index-depth", "64"],
            "--columns, --index-depth: sizes of an array; those of a map engine are in its name, "
            "--engine 'maps?clusters=4&stages=4'",
        ),
    ],
)
def test_wrong_usage_is_one_line_and_touches_nothing(board, tmp_path, capsys, arguments, text):
    assert bitstream.main(["pretend"]) == 0
    before = files(tmp_path / "pretend")
    capsys.readouterr()
    assert bitstream.main(["pretend", *arguments]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == f"bitstream: {text}"
    assert files(tmp_path / "pretend") == before


def test_a_board_without_revisions_says_so(capsys):
    assert bitstream.main(["zc706", "--revision", "1.2"]) == 2
    assert capsys.readouterr().err.splitlines()[-1] == (
        "bitstream: revision of zc706 must be left out, as all are alike, not '1.2'"
    )


def test_an_unknown_board_is_told_the_known_ones(capsys):
    assert bitstream.main(["zc707"]) == 2
    known = ", ".join(board_names())
    assert capsys.readouterr().err == f"bitstream: BOARD must be one of {known}, not 'zc707'\n"


@pytest.mark.parametrize("name", board_names())
def test_every_folder_with_a_board_is_one(name):
    board = find_board(name)
    assert isinstance(board, Board) and board.name == name
    assert find_board(name.replace("-", "_")) is board
    assert board.toolchains and board.doors and isinstance(board.engine, EngineParameters)


def test_the_boards_are_found_by_their_folders():
    """And the planner, which must not import them, knows them all, with their chips."""
    assert set(board_names()) == {"arty-a7-35t", "arty-z7-20", "nexys4-ddr", "ulx3s", "zc706"}
    assert {name: find_board(name).device for name in board_names()} == BOARDS


@pytest.mark.parametrize("name", board_names())
def test_an_engine_is_planned_for_every_board(name, capfd):
    assert dpnet(["plan", "--matrix", "64x128", "--board", name, "--json", "--count", "1"]) == 0
    found = json.loads(capfd.readouterr().out)
    assert found["device"]["name"] == find_board(name).device.name
    (one,) = found["proposals"]
    assert one["engine"]["multiplier"] == ("18x18" if name == "ulx3s" else "25x18")
    assert all(one[kind] <= found["device"][kind] for kind in KINDS)


def test_a_build_has_a_bitstream_or_says_why_not():
    with pytest.raises(ValueError, match="must have either a bitstream or what is missing, not"):
        Built(bitstream=None, files=(), clock_hz=1e6)
    with pytest.raises(ValueError, match="must have either a bitstream or what is missing, not"):
        Built(bitstream=Path("a.bit"), files=(), clock_hz=1e6, missing="Vivado")
    with pytest.raises(ValueError, match=r"^baud must be a positive integer, not 1\.5$"):
        BuildOptions(baud=1.5)
