"""Weight files: what they are, what of them is left out and why; no code of theirs is run."""

from __future__ import annotations

import io
import os
import pickle
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from cli_kit import Call, refused
from safetensors.torch import save_file
from torch import nn

from dpnet.host.commands import InputError
from dpnet.host.commands.weights import read_weights
from dpnet.model.image import ImageError, read_image

pytestmark = pytest.mark.usefixtures("folder")

FC = torch.randn(6, 60, generator=torch.Generator().manual_seed(0))

UNUSABLE: dict[str, tuple[Callable[[], Any], str]] = {
    "sparse": (FC.to_sparse, "sparse (sparse_coo): save it dense"),
    "csr": (FC.to_sparse_csr, "sparse (sparse_csr): save it dense"),
    "nested": (
        lambda: torch.nested.nested_tensor([torch.ones(2, 3), torch.ones(1, 3)]),
        "nested: its rows have different lengths",
    ),
    "jagged": (
        lambda: torch.nested.nested_tensor([torch.ones(2, 3)], layout=torch.jagged),
        "nested: its rows have different lengths",
    ),
    "meta": (lambda: FC.to("meta"), "on the meta device, without values"),
    "quantized": (
        lambda: torch.quantize_per_tensor(FC, 0.1, 0, torch.qint8),
        "quantized already: save it dequantized",
    ),
    "complex": (lambda: FC.to(torch.complex64), "complex"),
    "fp4": (
        lambda: torch.zeros(6, 60, dtype=torch.uint8).view(torch.float4_e2m1fn_x2),
        "of type float4_e2m1fn_x2, which is not read",
    ),
    "steps": (lambda: 7, "no tensor but int"),
}


@pytest.mark.filterwarnings("ignore")
def test_tensors_that_hold_no_weights_are_left_out_by_name(dpnet: Call) -> None:
    torch.save(
        {"fc.weight": FC, **{name: make() for name, (make, _) in UNUSABLE.items()}}, "net.pt"
    )
    found = dpnet("compress", "net.pt", "--json")
    assert found.code == 0 and [layer["name"] for layer in found.json["layers"]] == ["fc.weight"]
    reasons = {name: reason for name, (_, reason) in UNUSABLE.items()}
    assert found.json["left_out"] == reasons


def test_types_of_safetensors(dpnet: Call) -> None:
    tensors = {name: UNUSABLE[name][0]() for name in ("complex", "fp4")}
    small = FC.clamp(-1, 1).to(torch.float8_e4m3fn)
    save_file({"fc.weight": FC, "small.weight": small, **tensors}, "net.safetensors")
    found = read_weights(Path("net.safetensors"))
    assert (
        set(found.tensors) == {"fc.weight", "small.weight", "complex", "fp4"} and not found.left_out
    )
    result = dpnet("compress", "net.safetensors", "--all", "--json")
    assert [layer["name"] for layer in result.json["layers"]] == ["fc.weight", "small.weight"]
    assert result.json["left_out"] == {name: UNUSABLE[name][1] for name in tensors}


@pytest.mark.parametrize("key", ["state_dict", "model_state_dict", "model", "net"])
def test_a_state_dict_in_a_checkpoint(key: str) -> None:
    net = nn.Linear(9, 4)
    optimizer = torch.optim.Adam(net.parameters())
    net(torch.ones(1, 9)).sum().backward()
    optimizer.step()
    checkpoint = {"epoch": 3, key: net.state_dict(), "optimizer": optimizer.state_dict()}
    torch.save({**checkpoint, "ema": net.state_dict(), "best": torch.tensor(0.5)}, "net.ckpt")
    found = read_weights(Path("net.ckpt"))
    assert list(found.tensors) == ["weight", "bias"]
    assert found.left_out == {
        "ema": f"another state dict beside {key}",
        "best": f"beside {key}, not in it",
    }


def test_several_state_dicts() -> None:
    state = nn.Linear(2, 2).state_dict()
    for names in (("model", "net"), ("teacher", "student")):
        torch.save(dict.fromkeys(names, state), "net.pt")
        with pytest.raises(InputError) as caught:
            read_weights(Path("net.pt"))
        message = f"net.pt holds several state dicts: {', '.join(names)}; save one alone"
        assert str(caught.value) == message
    torch.save({"weights_of_mine": state}, "net.pt")
    assert list(read_weights(Path("net.pt")).tensors) == ["weight", "bias"]


class Evil:
    """Runs when it is unpickled."""

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("ran",)


def onnx() -> bytes:
    return b"\x08\x08\x12\x07pytorch\x1a\x052.9.0" + bytes(60)


def torchscript() -> bytes:
    file = io.BytesIO()
    torch.jit.save(torch.jit.script(nn.Linear(3, 2)), file)
    return file.getvalue()


def exported() -> bytes:
    file = io.BytesIO()
    torch.export.save(torch.export.export(nn.Linear(3, 2), (torch.ones(1, 3),)), file)
    return file.getvalue()


def saved(value: Any, **options: Any) -> bytes:
    file = io.BytesIO()
    torch.save(value, file, **options)
    return file.getvalue()


def zipped() -> bytes:
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("word/document.xml", "x")
    return file.getvalue()


def npz() -> bytes:
    file = io.BytesIO()
    np.savez(file, a=np.ones(3))
    return file.getvalue()


EXPORT = "save its weights where it was made, with torch.save(net.state_dict(), FILE)"
NO_CODE = (
    "which runs code when it is loaded: not done; save the state dict alone, with "
    "torch.save(net.state_dict(), FILE)"
)
FOREIGN: dict[str, tuple[Callable[[], bytes], str]] = {
    "module": (
        lambda: saved(nn.Linear(3, 2)),
        f"holds a whole pickled module (torch.nn.modules.linear.Linear), {NO_CODE}",
    ),
    "module in a checkpoint": (
        lambda: saved({"model": nn.ReLU()}),
        f"holds a whole pickled module (torch.nn.modules.activation.ReLU), {NO_CODE}",
    ),
    "old module": (
        lambda: saved(nn.ReLU(), _use_new_zipfile_serialization=False),
        "",
    ),
    "code": (
        lambda: saved({"w": Evil()}),
        f"holds other objects than tensors (posix.mkdir), {NO_CODE}",
    ),
    "plain pickle": (lambda: pickle.dumps(Evil()), ""),
    "torchscript": (torchscript, f"is a TorchScript program, no state dict; {EXPORT}"),
    "exported": (exported, f"is a program of torch.export, no state dict; {EXPORT}"),
    "onnx": (onnx, f"is an ONNX file, and holds no weights that dpnet reads; {EXPORT}"),
    "zip": (zipped, f"is a zip archive without weights of PyTorch in it; {EXPORT}"),
    "npz": (npz, f"is a NumPy archive (.npz), and holds no weights that dpnet reads; {EXPORT}"),
    "cut": (lambda: saved({"w": FC})[:-400], ""),
    "web page": (
        lambda: b"<!DOCTYPE html><html><body>Sign in</body></html>",
        "is a web page: the download went wrong, and holds no weights that dpnet reads; " + EXPORT,
    ),
    "one tensor": (
        lambda: saved(FC),
        "holds no state dict but Tensor; save one with torch.save(net.state_dict(), FILE)",
    ),
}


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", FOREIGN)
def test_files_of_other_kinds_are_told_apart_in_a_line(dpnet: Call, name: str) -> None:
    make, message = FOREIGN[name]
    Path("net.pt").write_bytes(make())
    result = dpnet("compress", "net.pt")
    assert (result.code, result.out, result.err.count("\n")) == (2, "", 1)
    assert "a bug" not in result.err and result.err.startswith("dpnet: net.pt ")
    if message:
        assert result.err == f"dpnet: net.pt {message}\n"
    assert not Path("ran").exists() and not Path("net-4bit.dpnet").exists()
    with pytest.raises(ImageError, match=r"^net.pt: no dpnet image but "):
        read_image("net.pt")


def test_no_suffix_is_needed(dpnet: Call) -> None:
    Path("weights.bin").write_bytes(saved({"fc.weight": FC}))
    save_file({"fc.weight": FC}, "weights")
    for name in ("weights.bin", "weights"):
        assert list(read_weights(Path(name)).tensors) == ["fc.weight"]
    Path("old.pt").write_bytes(saved({"fc.weight": FC}, _use_new_zipfile_serialization=False))
    assert list(read_weights(Path("old.pt")).tensors) == ["fc.weight"]


def test_an_image_is_no_weights(dpnet: Call) -> None:
    torch.save({"fc.weight": FC}, "net.pt")
    assert dpnet("compress", "net.pt", "--bits", 3).code == 0
    refused(
        dpnet("compress", "net-3bit.dpnet"),
        2,
        "net-3bit.dpnet is a dpnet image already; see it with dpnet info net-3bit.dpnet",
    )
    refused(dpnet("info", "net.pt"), 2, "net.pt: no dpnet image but a PyTorch file")


def test_pipes_do_not_block(dpnet: Call) -> None:
    os.mkfifo("pipe.pt")
    reason = "it is no file but a pipe, a socket or a device"
    refused(dpnet("compress", "pipe.pt"), 2, f"pipe.pt cannot be read: {reason}; check the name")
    refused(dpnet("info", "pipe.pt"), 2, f"pipe.pt: cannot be read: {reason}")
    torch.save({"fc": FC}, "net.pt")
    refused(
        dpnet("compress", "net.pt", "--out", "pipe.pt"),
        2,
        f"pipe.pt cannot be written: {reason}; name a file with --out",
    )


def test_names_do_not_reach_the_terminal_as_commands(dpnet: Call) -> None:
    evil = "fc\x1b[31m\x07\u202e\nline.weight"
    torch.save({evil: FC}, "net.pt")
    shown = "fc\\x1b[31m\\x07\\u202e\\nline.weight"
    for result in (
        dpnet("compress", "net.pt"),
        dpnet("info", "net-4bit.dpnet"),
        dpnet("info", "net-4bit.dpnet", "--json"),
        dpnet("run", "net-4bit.dpnet", "--port", "sim://array", "--layer", "x"),
    ):
        for text in (result.out, result.err):
            assert not set("\x1b\x07\u202e") & set(text)
    assert shown in dpnet("info", "net-4bit.dpnet").out
    assert dpnet("info", "net-4bit.dpnet", "--json").json["layers"][0]["name"] == evil
