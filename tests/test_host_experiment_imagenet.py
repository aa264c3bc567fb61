"""Table IV on pictures that these tests make: reading, weights, rows, interruptions."""

from __future__ import annotations

import json
import random
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import Call, last
from PIL import Image
from safetensors.torch import save_file
from torch import Tensor, nn

from dpnet.model.data.places import DataError
from dpnet.model.data.preparation import IMAGENET
from dpnet.model.evidence import digest, experiment_entries
from dpnet.model.experiments import methods
from dpnet.model.experiments.imagenet import plan as plan_module
from dpnet.model.experiments.imagenet import reading, table, weights
from dpnet.model.experiments.imagenet.folder import list_pictures
from dpnet.model.experiments.imagenet.plan import IMAGENET_PLAN
from dpnet.model.experiments.imagenet.reading import (
    FromFiles,
    Store,
    random_box,
    read_center,
    read_random,
)
from dpnet.model.experiments.imagenet.table import top
from dpnet.model.experiments.imagenet.weights import load_weights
from dpnet.model.experiments.results import page
from dpnet.model.experiments.studies.catalog import STUDIES
from dpnet.model.networks.googlenet import GoogLeNet
from dpnet.model.networks.published import WeightsError
from dpnet.model.training.recipe import build_net

pytestmark = pytest.mark.usefixtures("one_thread")

CLASSES = {"n01": (200, 40, 40), "n02": (40, 200, 40), "n03": (40, 40, 200)}
"""Folders, and the mean color of their pictures."""
TRAIN, VAL = 8, 4
SIZES = ((260, 300), (400, 256), (64, 90), (512, 300))


class Tiny(nn.Module):
    """In GoogLeNet's place: a convolution with its norm, and its last layer."""

    def __init__(self, classes: int = 3) -> None:
        super().__init__()
        self.conv = nn.Conv2d(3, 6, 7, stride=16, bias=False)
        self.bn = nn.BatchNorm2d(6)
        self.fc = nn.Linear(6, classes)

    def forward(self, x: Tensor) -> Tensor:
        assert x.shape[1:] == (3, 224, 224)
        return self.fc(torch.relu(self.bn(self.conv(x))).mean((2, 3)))


@pytest.fixture(scope="module")
def pictures(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """train/ and val/ of noise around a color for each class, in several sizes, one in gray."""
    root, generator = tmp_path_factory.mktemp("imagenet"), np.random.default_rng(1)
    for part, count in (("train", TRAIN), ("val", VAL)):
        for name, color in CLASSES.items():
            folder = root / part / name
            folder.mkdir(parents=True)
            for number in range(count):
                height, width = SIZES[number % len(SIZES)]
                noise = generator.integers(-40, 40, (height, width, 3)) + np.array(color)
                picture = Image.fromarray(noise.clip(0, 255).astype(np.uint8))
                ending = ("jpg", "JPEG", "png")[number % 3]
                picture.save(folder / f"{number}.{ending}")
    Image.new("L", (300, 300), 90).save(root / "train" / "n01" / "9.png")
    (root / "train" / "n01" / "README").write_text("no picture")
    return root


@pytest.fixture
def tiny(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its state dict, with a head that is left out."""
    for module in (plan_module, weights):
        monkeypatch.setattr(module, "GoogLeNet", Tiny)
    net = build_net(Tiny, 1)
    path = tmp_path / "tiny.pth"
    torch.save(net.state_dict() | {"aux1.fc.weight": torch.ones(2, 2)}, path)
    return path


# Reading


def test_pictures_are_listed_by_class_and_name(pictures: Path) -> None:
    found = list_pictures(pictures)
    assert found.classes == tuple(CLASSES) and found.n_train == 3 * TRAIN + 1
    assert found.files[:2] == ("train/n01/0.jpg", "train/n01/1.JPEG")
    assert found.files[TRAIN] == "train/n01/9.png" and "README" not in " ".join(found.files)
    for number, label in enumerate(found.labels):
        assert found.files[number].split("/")[1] == found.classes[label]
        assert found.path(number).is_file()
    assert found.digest == list_pictures(pictures).digest


def test_a_folder_that_is_none_of_that_kind_is_refused(tmp_path: Path) -> None:
    with pytest.raises(DataError, match=r"train is missing: a folder of classes"):
        list_pictures(tmp_path)
    (tmp_path / "train").mkdir()
    with pytest.raises(DataError, match=r"train must have a folder for each class, not none"):
        list_pictures(tmp_path)
    for name in ("train/a", "val/a", "val/b"):
        (tmp_path / name).mkdir(parents=True)
    with pytest.raises(DataError, match=r"train/a must have pictures \(.jpg, .jpeg, .png\)"):
        list_pictures(tmp_path)
    for name in ("train/a", "val/a", "val/b"):
        (tmp_path / name / "1.jpg").touch()
    with pytest.raises(DataError, match=r"the same classes in train/ and val/; b is in one alone"):
        list_pictures(tmp_path)


@pytest.mark.parametrize("size", [(300, 260), (256, 400), (1000, 257), (224, 224), (90, 64)])
def test_what_is_judged_is_the_middle_of_a_picture_of_256(
    tmp_path: Path, size: tuple[int, int]
) -> None:
    """A ramp: resized bilinearly it stays one, and the middle of the crop is the picture's."""
    width, height = size
    x = np.linspace(0, 255, width)[None, :].repeat(height, 0)
    y = np.linspace(0, 255, height)[:, None].repeat(width, 1)
    pixels = np.stack([x, y, 255 - x], 2).round().astype(np.uint8)
    Image.fromarray(pixels).save(tmp_path / "a.png")
    found = read_center(tmp_path / "a.png").astype(float)
    assert found.shape == (3, 224, 224)
    shorter = min(size)
    for channel, length, axis in ((0, width, 1), (1, height, 0)):
        resized = 256 * length // shorter
        first = round((resized - 224) / 2)
        places = (first + np.arange(224) + 0.5) / resized * length - 0.5
        expected = places.clip(0, length - 1) / (length - 1) * 255
        mean = found[channel].mean(1 - axis)
        # Rounded twice; where it is made larger the first and last values are repeated.
        assert np.abs(mean - expected).max() <= 3.5
    assert np.abs(found[0] + found[2] - 255).max() <= 1


def test_random_parts_have_the_areas_and_ratios_of_torchvisions() -> None:
    chance = random.Random(3)
    boxes = [random_box(500, 375, chance) for _ in range(3_000)]
    shares, ratios = [], []
    for left, top_, right, bottom in boxes:
        assert 0 <= left < right <= 500 and 0 <= top_ < bottom <= 375
        shares.append((right - left) * (bottom - top_) / (500 * 375))
        ratios.append((right - left) / (bottom - top_))
    assert 0.078 < min(shares) < 0.1 and 0.95 < max(shares) <= 1.0
    assert min(ratios) > 0.73 and max(ratios) < 1.36
    assert abs(np.median(np.log(ratios))) < 0.05
    # Of a strip nothing fits: its middle.
    assert random_box(4_000, 10, random.Random(1)) == (1_993, 0, 2_006, 10)


def test_a_random_part_is_what_its_seed_says_and_every_second_one_is_mirrored(
    tmp_path: Path,
) -> None:
    ramp = np.linspace(0, 255, 320)[None, :, None].repeat(240, 0).repeat(3, 2)
    Image.fromarray(ramp.astype(np.uint8)).save(tmp_path / "a.png")
    found = [read_random(tmp_path / "a.png", seed) for seed in range(40)]
    assert all(one.shape == (3, 224, 224) for one in found)
    assert (found[7] == read_random(tmp_path / "a.png", 7)).all()
    falling = sum(int(one[0, 0, 0]) > int(one[0, 0, -1]) for one in found)
    assert 10 <= falling <= 30
    assert len({one.tobytes() for one in found}) == 40


def test_pictures_are_scaled_as_usual_and_as_torchvisions_net_scales_them_again(
    pictures: Path,
) -> None:
    """Mean and deviation of ImageNet, then torchvision's `transform_input`, channel by channel."""
    store = Store(list_pictures(pictures))
    x = store.read(torch.tensor([0.0, 3.0]), training=False)
    pixels = np.stack([read_center(store.folder.path(number)) for number in (0, 3)])
    usual = IMAGENET.compute(pixels)
    for channel, (mean, deviation) in enumerate(
        zip((0.485, 0.456, 0.406), (0.229, 0.224, 0.225), strict=True)
    ):
        again = usual[:, channel] * (deviation / 0.5) + (mean - 0.5) / 0.5
        np.testing.assert_allclose(x[:, channel].numpy(), again, atol=1e-5)
    assert x.dtype == torch.float32 and x.shape == (2, 3, 224, 224)


def test_a_net_in_training_reads_random_parts_and_else_the_middles(pictures: Path) -> None:
    net = FromFiles(build_net(Tiny, 1), Store(list_pictures(pictures))).eval()
    numbers = torch.tensor([0.0, 5.0, 9.0])
    assert torch.equal(net(numbers), net(numbers.long()))
    x = net.store.read(numbers, training=False)
    torch.testing.assert_close(net(numbers), net.net(x))
    net.net.bn.train()  # as where norms are estimated anew
    torch.manual_seed(5)
    first = net(numbers)
    assert not torch.equal(first, net(numbers))
    torch.manual_seed(5)
    again = FromFiles(build_net(Tiny, 1), net.store).eval()
    again.net.bn.train()
    assert torch.equal(again(numbers), first)


def test_a_file_that_is_no_picture_is_named(tmp_path: Path) -> None:
    (tmp_path / "a.jpg").write_bytes(b"no picture")
    for read in (read_center, lambda path: read_random(path, 1)):
        with pytest.raises(DataError, match=r"a\.jpg cannot be read as a picture \(cannot identi"):
            read(tmp_path / "a.jpg")
    Image.new("RGB", (300, 300)).save(tmp_path / "b.jpg")
    whole = (tmp_path / "b.jpg").read_bytes()
    (tmp_path / "b.jpg").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(DataError, match=r"b\.jpg cannot be read as a picture"):
        read_center(tmp_path / "b.jpg")


# Weights


@pytest.mark.parametrize("ending", ["pth", "safetensors"])
def test_a_published_state_dict_loads_whatever_its_file(tmp_path: Path, ending: str) -> None:
    torch.manual_seed(1)
    whole = GoogLeNet(3, heads=True).eval()
    state = {n: t for n, t in whole.state_dict().items() if not n.endswith("num_batches_tracked")}
    path = tmp_path / f"googlenet.{ending}"
    (torch.save if ending == "pth" else save_file)(state, path)
    net = load_weights(path)
    x = torch.randn(1, 3, 224, 224)
    with torch.no_grad():
        assert torch.equal(net(x), whole(x))
    assert net.aux1 is None and not net.training


def test_other_weights_are_refused(tmp_path: Path, tiny: Path) -> None:
    good = torch.load(tiny, weights_only=True)
    for change, message in (
        ({"fc.weight": None}, "not the weights of GoogLeNet: fc.weight is missing"),
        ({"conv.weight": None}, "not the weights of GoogLeNet: conv.weight is missing"),
        ({"odd": torch.ones(1)}, "not the weights of GoogLeNet: "),
        ({"conv.weight": torch.ones(1)}, "not the weights of GoogLeNet: "),
        ({"fc.bias": torch.full((3,), torch.nan)}, "fc.bias holds NaN or an infinity"),
        ({"fc.bias": 3}, "must hold a state dict, tensors by name"),
    ):
        changed = {name: t for name, t in (good | change).items() if t is not None}
        torch.save(changed, tmp_path / "bad.pth")
        with pytest.raises(WeightsError) as caught:
            load_weights(tmp_path / "bad.pth")
        assert message in str(caught.value) and len(str(caught.value).splitlines()) == 1
    (tmp_path / "bad.pth").write_bytes(b"x" * 99)
    with pytest.raises(WeightsError, match=r"bad\.pth: no state dict of PyTorch"):
        load_weights(tmp_path / "bad.pth")
    (tmp_path / "bad.safetensors").write_bytes(b"x" * 99)
    with pytest.raises(WeightsError, match=r"bad\.safetensors: cannot be read"):
        load_weights(tmp_path / "bad.safetensors")


class Harm:
    """A pickle that would make a file."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return Path.touch, (self.path,)


def test_no_code_of_a_file_is_run(tmp_path: Path) -> None:
    torch.save({"fc.weight": Harm(tmp_path / "harm")}, tmp_path / "bad.pth")
    with pytest.raises(WeightsError, match="no state dict of PyTorch"):
        load_weights(tmp_path / "bad.pth")
    assert not (tmp_path / "harm").exists()


# Judging


def test_the_first_class_and_the_first_five_are_counted() -> None:
    logits = torch.tensor(
        [[9.0, 8, 7, 6, 5, 4, 3], [1, 2, 3, 4, 5, 6, 7], [0, 9, 1, 2, 3, 4, 5]], dtype=torch.float32
    )

    class Fixed(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.logits = nn.Parameter(logits)

        def forward(self, numbers: Tensor) -> Tensor:
            return self.logits[numbers]

    net = Fixed().train()
    first, five = top(net, torch.arange(3), torch.tensor([0, 2, 0]))
    assert (first, five) == pytest.approx((100 / 3, 200 / 3)) and net.training


# The command


def arguments(pictures: Path, tiny: Path, out: Path, *others: str) -> tuple[object, ...]:
    chosen = ("--data", pictures, "--weights", tiny, "--bits", "3", "--json", "--out", out)
    return ("experiment", "table4", *chosen, *others)


def test_every_method_gives_a_row_with_both_accuracies(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call
) -> None:
    out = tmp_path / "r.json"
    result = dpnet(*arguments(pictures, tiny, out))
    assert result.code == 0, result.err
    found = json.loads(out.read_text())
    assert found == json.loads(result.out)
    assert list(found) == ["command", "data", "machine", "sources", "rows"]
    assert found["command"] == (
        f"dpnet experiment table4 --bits 3 --epochs 1 --data {pictures} --weights {tiny} --seed 0 "
        "--device cpu"
    )
    assert found["sources"] == digest(experiment_entries("table4"))
    assert found["data"].startswith("12 pictures of 3 classes to test, 25 to train with")
    rows = {row["method"]: row for row in found["rows"]}
    expected = {"ptq": 0, "ptq-bn": 0, "ptq-bn-tuned": 1, "dp-net": 1, "dp-net-bn": 1}
    assert {name: row["epochs"] for name, row in rows.items()} == expected | {
        "dp-net-bn-tuned": 2,
        "control": 1,
    }
    for name, row in rows.items():
        assert (row["network"], row["dataset"], row["table"]) == ("googlenet", "imagenet", "table4")
        assert row["accuracy_top5"] == row["accuracy_top5_pretrained"] == 100.0  # of 3 classes
        assert row["delta_top5"] == 0.0
        assert row["delta_control"] == pytest.approx(row["accuracy"] - rows["control"]["accuracy"])
        if name != "control":
            place = tmp_path / "r.json.runs" / "table4-1-0" / "nets" / f"{name}-3"
            assert row["bytes_total"] == sum(part.stat().st_size for part in place.iterdir())
    lines = page.with_top5(
        page.table_of(IMAGENET_PLAN, "c", "m", [page.row_of(known(row)) for row in found["rows"]]),
        found["rows"],
    ).splitlines()
    assert lines[0].endswith("In five: 100.00 % before.")
    assert len({line.count("|") for line in lines[2:]}) == 1
    assert lines[4].endswith("| 100.00 % | +0.00 |") and lines[-1].endswith("| +0.20 |")


def known(row: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in row.items() if "top5" not in name}


def test_it_goes_on_and_ends_as_the_whole_one(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = ("--methods", "ptq,dp-net")
    whole = dpnet(*arguments(pictures, tiny, tmp_path / "whole.json", *chosen))
    assert whole.code == 0, whole.err
    looks: list[str] = []
    true_row = table._row

    def stopped(call: Any, bench: Any, stage: Any, *others: Any) -> Any:
        looks.append(stage.method)
        if looks.count("dp-net") == 1 and stage.method == "dp-net":
            raise KeyboardInterrupt
        return true_row(call, bench, stage, *others)

    monkeypatch.setattr(table, "_row", stopped)
    first = dpnet(*arguments(pictures, tiny, tmp_path / "parts.json", *chosen))
    assert first.code == 130 and "run the same command again to go on" in first.err
    second = dpnet(*arguments(pictures, tiny, tmp_path / "parts.json", *chosen))
    assert second.code == 0, second.err
    assert json.loads(second.out)["rows"] == json.loads(whole.out)["rows"]
    assert looks.count("ptq") == 1
    monkeypatch.delattr(table, "_row")
    monkeypatch.delattr(methods, "fit")
    third = dpnet(*arguments(pictures, tiny, tmp_path / "parts.json", *chosen))
    assert third.out == second.out


def test_no_more_than_a_batch_is_in_memory(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    true_read = Store.read

    def watched(self: Store, numbers: Tensor, *, training: bool) -> Tensor:
        read.append(len(numbers))
        return true_read(self, numbers, training=training)

    monkeypatch.setattr(Store, "read", watched)
    monkeypatch.setattr(reading, "JUDGED", 5)
    few = replace(table.TABLE4, plan=replace(IMAGENET_PLAN, batch=8))
    monkeypatch.setitem(STUDIES, "table4", few)
    result = dpnet(*arguments(pictures, tiny, tmp_path / "r.json", "--methods", "control"))
    assert result.code == 0, result.err
    assert max(read) == 8 and sum(n == 8 for n in read) == 2 and read.count(7) == 1
    assert sorted(set(read)) == [2, 5, 7, 8]  # 23 to train with, 2 held out, 12 to test


def test_a_budget_is_timed_on_a_few_steps(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call
) -> None:
    result = dpnet(*arguments(pictures, tiny, tmp_path / "r.json", "--budget", "0.001s"))
    assert result.code == 2 and "budget must be at least" in last(result.err)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ((), "table4 needs pictures, train/CLASS/*.jpg and val/CLASS/*.jpg: name their folder"),
        (("--data", "PICTURES"), "table4 needs GoogLeNet's published state dict, .pth or .safet"),
        (("--data", "PICTURES", "--weights", "none.pth"), "none.pth is missing: a state dict of"),
        (("--data", "none", "--weights", "TINY"), "train is missing: a folder of classes, each"),
        (("--data", "PICTURES", "--methods", "straight-distilled"), "--methods must be of ptq, "),
    ],
)
def test_what_is_missing_is_said_in_a_line(
    pictures: Path,
    tiny: Path,
    tmp_path: Path,
    dpnet: Call,
    given: tuple[str, ...],
    message: str,
) -> None:
    places: dict[str, object] = {"PICTURES": pictures, "TINY": tiny}
    said = [places.get(part, part) for part in given]
    result = dpnet("experiment", "table4", *said, "--out", tmp_path / "r.json")
    assert result.code == 2 and message in last(result.err)
    assert last(result.err).startswith("dpnet: ")


def test_folders_are_of_table4_alone_and_have_the_classes_of_the_weights(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call
) -> None:
    result = dpnet("experiment", "table5", "--data", pictures, "--out", tmp_path / "r.json")
    assert result.code == 2 and result.err == (
        "dpnet: --data must not be given for table5: its data are in the folder of DPNET_DATA\n"
    )
    torch.save(build_net(lambda: Tiny(5), 1).state_dict(), tmp_path / "five.pth")
    result = dpnet(*arguments(pictures, tmp_path / "five.pth", tmp_path / "r.json"))
    assert result.code == 2 and "must have 5 classes, as" in last(result.err)
    assert "has, not 3" in last(result.err)


def test_a_folder_may_move_but_its_names_may_not_change(
    pictures: Path, tiny: Path, tmp_path: Path, dpnet: Call
) -> None:
    out, moved = tmp_path / "r.json", tmp_path / "moved"
    chosen = ("--methods", "ptq")
    first = dpnet(*arguments(pictures, tiny, out, *chosen))
    moved.symlink_to(pictures)
    second = dpnet(*arguments(moved, tiny, out, *chosen))
    assert json.loads(second.out)["rows"] == json.loads(first.out)["rows"]
    changed = build_net(Tiny, 2)
    torch.save(changed.state_dict(), tiny)
    third = dpnet(*arguments(pictures, tiny, out, *chosen))
    assert third.code == 2 and "is of another run" in last(third.err)


def test_the_schedule_is_the_papers_at_full_length() -> None:
    full = IMAGENET_PLAN.whole()
    assert (full.epochs, full.period, full.bits) == (30, 3, (3, 4))
    schedule = full.phase(0).schedule
    rates = [schedule.rate(step, 30) / full.rate for step in (0, 9, 10, 19, 20, 29)]
    assert rates == pytest.approx([1, 1, 0.1, 0.1, 0.01, 0.01])
