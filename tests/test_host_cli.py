"""The command dpnet: what it prints, its errors in one line, its exit codes."""

from __future__ import annotations

import importlib
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch
from cli_kit import (
    TINY,
    Board,
    Call,
    digits_image,
    fp32_image,
    refused,
)
from safetensors.torch import save_file
from torch.nn.utils import prune

from dpnet.host.cli import COMMANDS
from dpnet.model.compression.network import compress_
from dpnet.model.compression.plan import CompressConfig
from dpnet.model.image import read_image
from dpnet.model.networks.digits import digits

pytestmark = pytest.mark.usefixtures("folder")

# Help and usage


@pytest.mark.parametrize("command", COMMANDS)
def test_help_ends_with_an_example_that_parses(dpnet: Call, command: str) -> None:
    result = dpnet(command, "--help")
    assert (result.code, result.err) == (0, "")
    usage, _, rest = result.out.partition("Exit codes:\n")
    assert usage.startswith(f"Usage: dpnet {command} ") and "--json" in usage
    codes, _, examples = rest.partition("\n\nExample:\n")
    listed = [int(number) for number in re.findall(r"^  (\d+) ", codes, re.MULTILINE)]
    assert listed == [0, 1, 2, 3, 70, 130, 141]
    assert examples.count("\n") >= 1
    module = importlib.import_module(f"dpnet.host.commands.{command}")
    for line in examples.splitlines():
        program, name, *arguments = shlex.split(line)
        assert (program, name) == ("dpnet", command)
        module.run.make_context(command, arguments)


def test_help_of_all(dpnet: Call) -> None:
    result = dpnet("--help")
    assert result.code == 0 and "Exit codes:" in result.out and "Example:" in result.out
    assert all(f"\n  {command} " in result.out for command in COMMANDS)
    assert re.fullmatch(r"dpnet \d+\.\d+\.\d+\n", dpnet("--version").out)


@pytest.mark.parametrize("command", [[], *([command] for command in COMMANDS)])
@pytest.mark.parametrize("columns", [40, 60, 80, 200])
def test_help_fits_the_terminal(
    dpnet: Call, monkeypatch: pytest.MonkeyPatch, command: list[str], columns: int
) -> None:
    monkeypatch.setenv("COLUMNS", str(columns))
    told, _, examples = dpnet(*command, "--help").out.partition("Example:\n")
    assert max(map(len, told.splitlines())) <= min(columns, 80)
    # What is copied into a terminal is not broken into lines.
    assert all(line.startswith("  dpnet ") for line in examples.splitlines())


def test_help_and_info_import_no_torch(dpnet: Call) -> None:
    fp32_image()
    for arguments in (["--help"], ["info", "--help"], ["info", "m.dpnet"], ["plan", "--help"]):
        program = f"from dpnet.host.cli import main; print(main({arguments!r}))"
        found = subprocess.run(
            [sys.executable, "-c", f"import sys; {program}; print('torch' in sys.modules)"],
            capture_output=True,
            text=True,
            check=True,
        )
        assert found.stdout.splitlines()[-2:] == ["0", "False"], found.stderr


RANGE = "--{} must be a whole number from {} to {}, not '{}'; see dpnet {} --help"

USAGE = [
    ([], "missing command; see dpnet --help"),
    (["compress", "x.pt", "--k", "0"], RANGE.format("k", 1, 16, 0, "compress")),
    (["compress", "x.pt", "--k", "17"], RANGE.format("k", 1, 16, 17, "compress")),
    (["compress", "x.pt", "--k", "four"], RANGE.format("k", 1, 16, "four", "compress")),
    (["compress", "x.pt", "--bits", "0"], RANGE.format("bits", 1, 4, 0, "compress")),
    (["compress", "x.pt", "--bits", "5"], RANGE.format("bits", 1, 4, 5, "compress")),
    (["train", "--bits", "5"], RANGE.format("bits", 1, 4, 5, "train")),
    (["train", "--epochs-float", "-1"], RANGE.format("epochs-float", 0, 100000, -1, "train")),
    (["run", "x"], "--port or --golden must be given, and not both; see dpnet run --help"),
    (["run", "--port", "p"], "IMAGE must be given; see dpnet run --help"),
    (["compress"], "FILE must be given; see dpnet compress --help"),
    (
        ["run", "x", "--port", "p", "--pictures", "361"],
        RANGE.format("pictures", 1, 360, 361, "run"),
    ),
    (["bench", "--rows", "0"], RANGE.format("rows", 1, 65536, 0, "bench")),
    (["info"], "an IMAGE or a --port must be given, and not both; see dpnet info --help"),
    (
        ["info", "x", "--port", "p"],
        "an IMAGE or a --port must be given, and not both; see dpnet info --help",
    ),
    (["info", "x", "--nonsense"], "there is no option --nonsense; see dpnet info --help"),
    (
        ["bench", "--row", "3"],
        "there is no option --row; did you mean --rows?; see dpnet bench --help",
    ),
    (
        ["info", "--prot", "p"],
        "there is no option --prot; did you mean --port?; see dpnet info --help",
    ),
    (["--jsn"], "there is no option --jsn; see dpnet --help"),
    (["info", "x", "y"], "got unexpected extra argument (y); see dpnet info --help"),
    (["run", "x", "--port"], "option '--port' requires an argument; see dpnet run --help"),
    (
        ["compress", "x.pt", "--bits", "2", "--k", "3"],
        "--bits or --k must be given, not both; see dpnet compress --help",
    ),
    (
        ["plan", "--matrix", "3"],
        "--matrix must be ROWSxCOLUMNS, at most 65536x4096, not '3'; see dpnet plan --help",
    ),
    (
        ["plan", "--board", "zc702"],
        "--board must be arty-a7-35t, arty-z7-20, nexys4-ddr, ulx3s or zc706, not 'zc702'; see "
        "dpnet plan --help",
    ),
    (["train", "--lam", "x"], "--lam must be a number, not 'x'; see dpnet train --help"),
    (["bench", "--layer", "fc"], "--layer names a layer of an image; give it with --image"),
    (
        ["train", "--lam", "-3"],
        "these settings cannot train: lam must be finite and not negative, not -3.0",
    ),
    (
        ["train", "--lam", "nan"],
        "these settings cannot train: lam must be finite and not negative, not nan",
    ),
    (
        ["train", "--reading", "sum"],
        "these settings cannot train: lr * rho must be below 3.8 for fc1.weight, not 4: lower lam "
        "or lr, or choose another reading",
    ),
]


@pytest.mark.parametrize("arguments, message", USAGE)
def test_wrong_usage(dpnet: Call, arguments: list[str], message: str) -> None:
    refused(dpnet(*arguments), 2, message)


@pytest.mark.parametrize(
    "given, meant", [("trian", "train"), ("comprss", "compress"), ("docter", "doctor")]
)
def test_an_unknown_command(dpnet: Call, given: str, meant: str) -> None:
    message = f"there is no command {given}; did you mean {meant}?; see dpnet --help"
    refused(dpnet(given), 2, message)
    refused(dpnet("xyzzy"), 2, "there is no command xyzzy; see dpnet --help")


# compress and info


def save_net(path: str, **layers: torch.Tensor) -> None:
    torch.save({f"{name}.weight": tensor for name, tensor in layers.items()}, path)


def test_compress_and_info(dpnet: Call) -> None:
    torch.manual_seed(0)
    tensors = {
        "conv.weight": torch.randn(8, 3, 3, 3),
        "fc.weight": torch.randn(20, 64).double(),
        "half.weight": torch.randn(6, 50).bfloat16(),
        "narrow.weight": torch.randn(30, 3),
        "fc.bias": torch.randn(20),
        "steps": torch.tensor(3),
        "ids": torch.ones(4, 40, dtype=torch.int),
        "empty.weight": torch.zeros(0, 5),
        "table": torch.ones(20, 50),
    }
    save_file(tensors, "net.safetensors")
    result = dpnet("compress", "net.safetensors", "--bits", 2, "--json")
    found = result.json
    assert (result.code, result.err) == (0, "")
    names = [layer["name"] for layer in found["layers"]]
    assert names == ["conv.weight", "fc.weight", "half.weight"]
    assert found["left_out"] == {
        "narrow.weight": "would get larger, ratio 0.72",
        "fc.bias": "fewer than 2 dimensions",
        "steps": "not floating point",
        "ids": "not floating point",
        "empty.weight": "empty",
        "table": "no weight of a layer that is known",
    }
    # Eq. (1): 32 n / (2 n + 4 · 32) of a row of n weights.
    ratios = [32 * n / (2 * n + 128) for n in (27, 64, 50)]
    assert [layer["ratio_eq1"] for layer in found["layers"]] == pytest.approx(ratios)
    weights = 8 * 27 + 20 * 64 + 6 * 50
    assert found["weights"] == weights and found["fp32_bytes"] == 4 * weights
    assert found["ratio_eq1"] == pytest.approx(32 * weights / (2 * weights + 128 * 34))
    size = Path("net-2bit.dpnet").stat().st_size
    assert found["file_bytes"] == size and found["ratio_bytes"] == 4 * weights / size
    image = read_image(Path("net-2bit.dpnet"))
    for layer, entry in zip(image.layers, found["layers"], strict=True):
        original = tensors[layer.name].float().reshape(layer.rows, -1).numpy()
        assert layer.codebook is not None and layer.shape == tuple(tensors[layer.name].shape)
        dense = np.take_along_axis(layer.codebook, layer.indices.astype(int), 1)
        lost = np.linalg.norm(original.astype(float) - dense) / np.linalg.norm(original)
        assert entry["relative_error"] == pytest.approx(lost, rel=1e-5)
        assert 0.1 < lost < 0.343  # the square root of 0.1175, the best for normal weights
    text = dpnet("compress", "net.safetensors", "--bits", 2).out
    assert "left out: narrow.weight (would get larger, ratio 0.72)" in text
    assert "biases, other tensors of 1 dimension and all that is left out are not in it" in text
    info = dpnet("info", "net-2bit.dpnet", "--json").json
    assert info["kind"] == "fp32" and info["file_bytes"] == size
    assert info["layers"][0] == {
        "name": "conv.weight",
        "shape": [8, 3, 3, 3],
        "rows": 8,
        "columns": 27,
        "k": 4,
        "relu": False,
        "out_bits": None,
    }
    assert info["ratio_bytes"] == found["ratio_bytes"]
    assert info["ratio_eq1"] == pytest.approx(found["ratio_eq1"])
    assert "conv.weight  8 × 3 × 3 × 3  4  fp32" in dpnet("info", "net-2bit.dpnet").out


def test_compress_a_state_dict(dpnet: Call) -> None:
    net = torch.nn.Sequential(torch.nn.Linear(100, 3), torch.nn.Linear(3, 3))
    torch.save({"state_dict": net.state_dict(), "epoch": 3}, "net.pth")
    found = dpnet("compress", "net.pth", "--k", 3, "--norm", 1, "--out", "a.dpnet", "--json").json
    assert [layer["name"] for layer in found["layers"]] == ["0.weight"] and found["k"] == 3
    found = dpnet("compress", "net.pth", "--k", 3, "--all", "--include", "^1", "--json").json
    assert [layer["name"] for layer in found["layers"]] == ["1.weight"]
    assert found["left_out"]["0.weight"] == "not included" and Path("net-k3.dpnet").exists()


def test_a_matrix_on_few_values_is_kept_exactly(dpnet: Call) -> None:
    weight = torch.tensor([-1.0, 0.25, 3.0])[torch.randint(3, (5, 60))]
    save_net("net.pt", w=weight, zeros=torch.zeros(3, 40))
    found = dpnet("compress", "net.pt", "--bits", 2, "--json").json
    kept = [(layer["k"], layer["kept"], layer["relative_error"]) for layer in found["layers"]]
    assert kept == [(3, True, 0.0), (1, True, 0.0)]
    assert "w.weight: kept as it is, 3 values " in dpnet("compress", "net.pt").out


def test_zeros_of_pruned_weights_stay(dpnet: Call) -> None:
    torch.manual_seed(0)
    layer = torch.nn.Linear(63, 8)
    prune.random_unstructured(layer, "weight", 252)
    for name in ("masked.pt", "made.pt"):
        torch.save(layer.state_dict(), name)
        zeros = (layer.weight == 0).numpy()
        assert zeros.sum() == 252 and dpnet("compress", name, "--bits", 2).code == 0
        image = read_image(Path(f"{Path(name).stem}-2bit.dpnet")).layers[0]
        assert image.name == "weight" and image.codebook is not None
        dense = np.take_along_axis(image.codebook, np.asarray(image.indices).astype(int), 1)
        assert not dense[zeros].any() and dense[~zeros].any()
        if name == "masked.pt":
            prune.remove(layer, "weight")


def test_weights_in_parts(dpnet: Call) -> None:
    torch.manual_seed(0)
    layer = torch.nn.utils.parametrizations.weight_norm(torch.nn.Linear(60, 5))
    layer.parametrizations.weight.original0.data *= torch.linspace(1, 9, 5)[:, None]
    torch.save(layer.state_dict(), "norm.pt")
    found = dpnet("compress", "norm.pt", "--bits", 3, "--json").json
    (entry,) = found["layers"]
    assert (entry["name"], entry["note"]) == ("weight", "multiplied out (weight norm)")
    image = read_image(Path("norm-3bit.dpnet")).layers[0]
    assert image.codebook is not None
    dense = np.take_along_axis(image.codebook, np.asarray(image.indices).astype(int), 1)
    lengths = np.linalg.norm(layer.weight.detach().numpy(), axis=1)
    np.testing.assert_allclose(np.linalg.norm(dense, axis=1), lengths, rtol=0.03)
    assert lengths[4] > 5 * lengths[0]
    torch.save({"a.weight": torch.randn(4, 60), "weight_v": torch.randn(4, 60)}, "part.pt")
    reason = (
        "weight is not defined by weight_v alone: make it one tensor, with "
        "torch.nn.utils.remove_spectral_norm(layer, 'weight'); or leave it out with --exclude"
    )
    refused(dpnet("compress", "part.pt", "--bits", 2), 2, reason)
    found = dpnet("compress", "part.pt", "--bits", 2, "--exclude", "^weight", "--json").json
    assert [entry["name"] for entry in found["layers"]] == ["a.weight"]
    assert found["left_out"] == {"weight": "excluded"}


def test_rows_of_transposed_and_unknown_tensors(dpnet: Call) -> None:
    torch.manual_seed(0)
    torch.save({"up.weight": torch.randn(20, 30, 3, 3), "table": torch.randn(30, 40)}, "net.pt")
    found = dpnet("compress", "net.pt", "--bits", 2, "--json").json
    assert [entry["shape"] for entry in found["layers"]] == [[20, 30, 3, 3]]
    options = ("--transposed", "^up", "--matrix", "table")
    found = dpnet("compress", "net.pt", "--bits", 2, *options, "--json").json
    assert [entry["shape"] for entry in found["layers"]] == [[30, 20, 3, 3], [30, 40]]
    net = torch.nn.Sequential(torch.nn.ConvTranspose2d(20, 20, 5, bias=False))
    plan = compress_(net, CompressConfig(k=8))
    torch.save(net.state_dict(), "net.pt")
    found = dpnet("compress", "net.pt", "--json").json["layers"]
    assert [(entry["k"], entry["relative_error"]) for entry in found] == [(8, 0.0)]
    layer = read_image(Path("net-4bit.dpnet")).layers[0]
    np.testing.assert_array_equal(layer.codebook, plan.quantized["0.weight"].codebook.astype("f"))


def test_weights_that_are_not_finite(dpnet: Call) -> None:
    weight = torch.randn(4, 3, 30)
    weight[2, 1, 7] = float("nan")
    save_net("net.pt", good=torch.randn(3, 40), bad=weight)
    message = (
        "tensor bad.weight holds nan at [2, 1, 7], which is no finite fp32 number; repair the "
        "network, or leave the tensor out with --include"
    )
    refused(dpnet("compress", "net.pt", "--bits", 2), 2, message)
    assert not list(Path().glob("*.dpnet"))
    assert dpnet("compress", "net.pt", "--bits", 2, "--include", "good").code == 0
    save_net("big.pt", big=torch.full((2, 40), 1e300, dtype=torch.float64))
    result = dpnet("compress", "big.pt", "--bits", 1)
    assert result.code == 2
    assert result.err.startswith(
        "dpnet: tensor big.weight holds 1e+300 at [0, 0], which is no finite "
    )


def test_files_of_weights_that_are_none(dpnet: Call) -> None:
    Path("text.pt").write_text("nonsense")
    Path("text.safetensors").write_text("nonsense, more of it")
    Path("folder.pt").mkdir()
    torch.save([1, 2], "list.pt")
    torch.save(torch.nn.Linear(2, 2), "module.pt")
    save_net("biases.pt", b=torch.ones(5))
    again = "save one with torch.save(net.state_dict(), FILE)"
    refused(
        dpnet("compress", "none.pt"),
        2,
        "none.pt cannot be read: No such file or directory; check the name",
    )
    refused(
        dpnet("compress", "folder.pt"),
        2,
        "folder.pt cannot be read: Is a directory; check the name",
    )
    refused(dpnet("compress", "list.pt"), 2, f"list.pt holds no state dict but list; {again}")
    refused(
        dpnet("compress", "biases.pt"),
        2,
        "biases.pt has nothing to compress to 16 values per row: b.weight (fewer than 2 "
        "dimensions) is left out; choose other tensors with --include, a smaller --k, or --all",
    )
    for name in ("text.pt", "text.safetensors"):
        refused(
            dpnet("compress", name),
            2,
            f"{name} is a text file, and holds no weights that dpnet reads; save its weights where "
            "it was made, with torch.save(net.state_dict(), FILE)",
        )
    save_net("net.pt", w=torch.randn(4, 99))
    refused(
        dpnet("compress", "net.pt", "--include", "("),
        2,
        "--include must be a regular expression: missing ), unterminated subpattern at "
        "position 0 in '('",
    )


def test_outputs_that_cannot_be_written(dpnet: Call, folder: Path) -> None:
    save_net("net.pt", w=torch.randn(4, 99))
    for command in (["compress", "net.pt"], ["train"]):
        refused(
            dpnet(*command, "--out", folder),
            2,
            f"{folder} cannot be written: it is a folder; name a file with --out",
        )
        refused(
            dpnet(*command, "--out", "no/where.dpnet"),
            2,
            "no/where.dpnet cannot be written: there is no folder no; make it first, or name "
            "another file with --out",
        )
        result = dpnet(*command, "--out", "/proc/x.dpnet")
        assert result.code == 2
        assert result.err.startswith("dpnet: /proc/x.dpnet cannot be written: ")


def test_damaged_images(dpnet: Call) -> None:
    fp32_image()
    data = bytearray(Path("m.dpnet").read_bytes())
    Path("cut.dpnet").write_bytes(data[:-3])
    data[-1] ^= 1
    Path("flipped.dpnet").write_bytes(data)
    save_file({"w": torch.ones(2, 2)}, "plain.safetensors")
    for command in (["info"], ["run", "--port", "sim://array"], ["bench", "--image"]):
        for name, message in (
            ("cut.dpnet", "the file has .* bytes of tensors instead of .*: cut off or damaged"),
            ("flipped.dpnet", "tensor 0.indices: its CRC-32 is wrong"),
            ("plain.safetensors", "no dpnet image but a safetensors file: compress it first.*"),
            ("none.dpnet", "cannot be read: No such file or directory"),
            (".", "cannot be read: Is a directory"),
        ):
            result = dpnet(*command, name)
            assert result.code == 2 and result.out == ""
            assert re.fullmatch(f"dpnet: {re.escape(name)}: {message}\n", result.err), result.err


# run, on the simulated engine


def test_the_port(dpnet: Call) -> None:
    found = dpnet("info", "--port", TINY, "--json").json
    assert (found["kind"], found["lanes"], found["state"]) == ("array of lanes", 16, "empty")
    assert found["registers"]["INDEX_DEPTH"] == 512 and found["errors"] == []
    text = dpnet("info", "--port", TINY).out
    assert re.search(r"^segments +2 +segments of the array; clusters$", text, re.MULTILINE)
    assert "image: empty\nno run yet\nsince reset: frame_errors 0, " in text


def test_run_the_digits(dpnet: Call) -> None:
    image = digits_image()
    found = dpnet("run", "digits.dpnet", "--port", TINY, "--pictures", 25, "--json").json
    assert found["mismatches"] == 0 and found["outputs_compared"] == 250
    assert found["cycles_per_input"] == found["predicted_cycles"] == found["cycles_largest"]
    data = digits()
    assert image.layers[0].entries is not None and image.layers[0].bias is not None
    # The same class as that of the real network that the image stands for, save near ties.
    x = data.test_x.numpy()[:25]
    layer = image.layers[0]
    units = np.ldexp(image.input_scale, layer.exponent)
    dense = np.take_along_axis(layer.entries, layer.indices.astype(int), 1)
    logits = (np.rint(x / image.input_scale) @ dense.T + layer.bias) * units
    assert found["classes"] == logits.argmax(1).tolist()
    right = (logits.argmax(1) == data.test_y.numpy()[:25]).mean()
    assert found["accuracy"] == pytest.approx(100 * right) and right > 0.8
    text = dpnet("run", "digits.dpnet", "--port", TINY, "--pictures", 2).out
    assert "1 layers, 2 pictures\naccuracy " in text
    assert text.endswith("0 of 20 outputs differ from the golden model\n")


def test_run_rows_of_a_file(dpnet: Call) -> None:
    digits_image()
    np.save("x.npy", digits().test_x.numpy()[:3].astype(np.float64))
    found = dpnet("run", "digits.dpnet", "--port", TINY, "--input", "x.npy", "--json").json
    assert found["accuracy"] is None and len(found["classes"]) == 3 and found["mismatches"] == 0
    fp32_image("m.dpnet", (9, 12), (5, 64))
    command = ("run", "m.dpnet", "--port", TINY, "--layer", "m1", "--input", "x.npy")
    found = dpnet(*command, "--json").json
    assert (found["layer"], found["inputs"], found["outputs_compared"]) == ("m1", 3, 15)
    assert found["mismatches"] == 0 and found["cycles_per_input"] == found["predicted_cycles"]


def test_bench(dpnet: Call) -> None:
    baseline = "sim://baseline?weights=1024&columns=64&rows=32&layers=1"
    command = ("bench", "--port", TINY, "--rows", 12, "--columns", 30, "--bits", 3)
    found = dpnet(*command, "--baseline", baseline, "--json").json["results"]
    assert [row["engine"] for row in found] == ["paper-baseline", "array"]
    assert [row["lanes"] for row in found] == [1, 16]
    for row in found:
        assert (row["rows"], row["columns"], row["bits"], row["mismatches"]) == (12, 30, 3, 0)
        assert row["cycles"] == row["predicted_cycles"] and row["within_bound"] is True
        assert row["ms_at_100_mhz"] == row["cycles"] / 100_000_000 * 1000
    assert found[0]["cycles"] == 6 * 12 * 30 + 19
    # One vector after the other: nothing for the baseline, 2 tiles of 15 beats and 8 drains.
    assert [row["interval_cycles"] for row in found] == [None, 2 * 24]
    assert [row["compared"] for row in found] == [12, 12 + 8 * 12]
    text = dpnet(*command, "--baseline", "none").out
    assert text.count("random 12 × 30") == 1


def test_vectors_that_are_refused(dpnet: Call) -> None:
    fp32_image()
    x = np.ones((4, 12))
    x[2, 5] = np.nan
    np.save("nan.npy", x)
    np.save("short.npy", np.ones(11))
    np.save("words.npy", np.array(["a"]))
    np.save("objects.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.savez("many.npz", a=np.ones(12))
    Path("text.npy").write_text("nonsense")
    Path("empty.npy").touch()
    real = "must hold one array of real numbers; save one with numpy.save"
    none = "is no .npy file of numbers; save one with numpy.save"
    for name, message in {
        "nan.npy": "holds nan at row 2, column 5; the engine takes finite fp32 numbers: repair the "
        "file",
        "short.npy": "has the shape (11,), the layer takes rows of 12 values: save an array of "
        "shape (n, 12)",
        "words.npy": real,
        "many.npz": real,
        "objects.npy": none,
        "text.npy": none,
        "empty.npy": none,
        "none.npy": "cannot be read: No such file or directory",
        ".": "cannot be read: Is a directory",
    }.items():
        result = dpnet("run", "m.dpnet", "--port", "loop://", "--input", name)
        refused(result, 2, f"{name} {message}")


def test_layers_that_are_none(dpnet: Call) -> None:
    fp32_image("two.dpnet", (2, 40), (3, 40))
    digits_image()
    run = ("run", "two.dpnet", "--port", "loop://")
    refused(dpnet(*run), 2, "the image holds 2 matrices; choose one with --layer: m0, m1")
    refused(dpnet(*run, "--layer", "x"), 2, "the image has no layer 'x'; there are m0, m1")
    refused(
        dpnet("run", "digits.dpnet", "--port", "loop://", "--layer", "fc"),
        2,
        "--layer is for fp32 images; an integer network runs as a whole",
    )
    refused(
        dpnet("bench", "--image", "two.dpnet"), 2, "--layer must name a layer of two.dpnet: m0, m1"
    )
    refused(
        dpnet("bench", "--image", "digits.dpnet"),
        2,
        "digits.dpnet is of integers; bench takes fp32 images (dpnet compress); use dpnet run",
    )


# Ports and links that fail


def test_an_image_larger_than_the_engine(dpnet: Call, boards: Callable[..., Board]) -> None:
    fp32_image("m.dpnet", (9, 1026))
    board = boards()
    refused(
        dpnet("run", "m.dpnet", "--port", board.url),
        2,
        "the image is larger than the engine: layer m0 (9 × 1026, K = 16) needs 513 index rows for "
        "a tile, there are 512; an engine that holds it: "
        "sim://array?stages=2&columns=4&index_depth=513",
    )
    assert board.engine.epoch == 0, "nothing was sent"
