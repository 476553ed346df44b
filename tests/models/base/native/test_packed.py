"""Weights in the few bits that they came in: found again without loss, and the same answers."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from models.base.decode import decode_stream
from models.base.lm import BaseLM
from models.base.native.folder import BFLOAT16_WEIGHTS, read_config
from models.base.native.llama import LlamaLM
from models.base.native.packed import FEW_TOKENS, FILE, PROCESSORS, PackedLinear, grid, pack, packed
from models.memory.base_models import BaseModels
from models.weights.pinned import DEFAULT_LM
from models.weights.resolve import resolve

CPU = torch.device("cpu")
SIZES = {
    "hidden_size": 64,
    "num_attention_heads": 4,
    "num_key_value_heads": 2,
    "head_dim": 16,
    "intermediate_size": 96,
}
pytestmark = pytest.mark.skipif(
    torch.backends.cpu.get_cpu_capability() not in PROCESSORS,
    reason="this processor has no fast product for 4 bits",
)


@dataclass
class Names:
    """What a checkpoint says of the models it stands on."""

    base_lm: str
    base_sha256: str | None = None
    base_quantization: str | None = None
    encoder: str = "none"
    encoder_sha256: str | None = None
    encoder_rules: None = None


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model whose linear maps have few bits a weight, in the cache of base models."""
    monkeypatch.setenv("MAC_HOME", str(tmp_path))
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "models" / "llama"))
    config = json.loads((folder / "config.json").read_text()) | SIZES
    (folder / "config.json").write_text(json.dumps(config))
    weights = LlamaLM(read_config(folder)).state_dict()
    for name, weight in weights.items():
        if "proj" in name:
            weights[name] = quantized("Q4_1", *weight.shape)
        elif "embed" in name:
            weights[name] = quantized("Q8_0", *weight.shape)
    save_file(weights, folder / "model.safetensors")
    return folder


def load(folder: Path, dtype: torch.dtype = torch.bfloat16) -> tuple[BaseLM, BaseLM]:
    """Return the language model as it is, and as it generates."""
    lm = BaseLM.load(folder, device=CPU, dtype=dtype)
    return lm, packed(lm, folder)


def quantized(kind: str, rows: int = 64, columns: int = 96) -> Tensor:
    """Return weights as a GGUF file of that kind holds them."""
    groups = 0.1 * torch.randn(rows, columns // 32, 32)
    largest = groups.gather(-1, groups.abs().argmax(-1, keepdim=True))
    least, most = groups.aminmax(dim=-1, keepdim=True)
    if kind == "Q4_K":  # six bits say how the step and the minimum of 32 weights follow from two
        step = torch.randint(1, 64, least.shape) * torch.tensor(0.0003).half().float()
        minimum = torch.randint(0, 64, least.shape) * torch.tensor(0.0004).half().float()
        n = (groups / step + 7).round().clamp(0, 15)
        return (step * n - minimum).flatten(1)
    if kind == "Q8_0":
        step = (largest.abs() / 127).half().float()
        return ((groups / step).round().clamp(-127, 127) * step).flatten(1)
    top = 2 ** int(kind[1]) - 1
    if kind.endswith("_0"):
        middle = (top + 1) // 2
        step = (largest / -middle).half().float()
        return (((groups / step + middle).round().clamp(0, top) - middle) * step).flatten(1)
    step, minimum = ((most - least) / top).half().float(), least.half().float()
    return (((groups - minimum) / step).round().clamp(0, top) * step + minimum).flatten(1)


KINDS = ("Q4_0", "Q4_1", "Q4_K", "Q5_0", "Q5_1", "Q8_0")


@pytest.mark.parametrize("kind", KINDS)
def test_the_numbers_are_found_without_loss(kind: str) -> None:
    weight = quantized(kind)
    weight[0, :32] = 0.5  # a group of one value
    weight[1, :32] = torch.tensor([0.1] * 31 + [-0.1])  # and one of two
    found = grid(weight)
    assert found is not None
    n, step, least = found
    assert n.min() == 0 and n.max() < 2 ** int(kind[1])
    torch.testing.assert_close((n * step + least).flatten(1), weight, atol=1e-6, rtol=1e-6)


@pytest.mark.parametrize(
    "weight",
    [
        torch.randn(32, 96),
        torch.randn(32, 96).bfloat16().float(),
        torch.zeros(32, 40),
        torch.zeros(8, 64),
    ],
    ids=["any numbers", "bfloat16", "no whole groups", "too few rows"],
)
def test_other_weights_are_not_taken_for_it(weight: Tensor) -> None:
    assert grid(weight) is None and pack(weight) is None


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("rows", [1, 5, 400])
def test_the_product_is_that_of_the_weights(kind: str, rows: int) -> None:
    linear, x = nn.Linear(96, 64), torch.randn(2, rows, 96)
    linear.weight.data = quantized(kind)
    found = pack(linear.weight.data)
    assert found is not None
    assert len(found[0]) == (1 if kind.startswith("Q4") else 2)
    for dtype in (torch.float32, torch.bfloat16):
        y = PackedLinear(linear.to(dtype), *found)(x.to(dtype))
        assert y.dtype == dtype
        assert (y.float() - linear.float()(x)).abs().mean() < 0.01


def test_many_tokens_are_multiplied_with_the_weights_as_they_are() -> None:
    linear = nn.Linear(96, 64, bias=False).bfloat16()
    found = pack(quantized("Q4_1"))
    assert found is not None
    linear.weight.data = torch.zeros(64, 96).bfloat16()  # so that one sees which are used
    few = PackedLinear(linear, *found)
    assert few(torch.ones(1, FEW_TOKENS, 96).bfloat16()).any()
    assert not few(torch.ones(1, FEW_TOKENS + 1, 96).bfloat16()).any()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_says_the_same_with_them(folder: Path, dtype: torch.dtype) -> None:
    all_bits, few = load(folder, dtype)
    assert isinstance(few.head, PackedLinear) and not isinstance(all_bits.head, PackedLinear)
    ids = few.pad(few.tokenize(["Ida Brandt opened the bridge in Varnholt."]))
    with torch.no_grad():
        found, wanted = (lm.logits(lm.forward(ids)).float() for lm in (few, all_bits))
    assert (found - wanted).abs().mean() < 0.03 * wanted.std()


def test_maps_that_have_no_few_bits_stay_as_they_are(folder: Path) -> None:
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = torch.randn(96, 64)
    save_file(weights, folder / "model.safetensors")
    lm, few = load(folder)
    gate, up = few.modules[0].up
    assert isinstance(gate, PackedLinear) and up is lm.modules[0].up[1]


def test_a_model_of_transformers_has_them_too(folder: Path) -> None:
    config = json.loads((folder / "config.json").read_text()) | {"model_type": "mistral"}
    (folder / "config.json").write_text(json.dumps(config | {"architectures": None}))
    lm, few = load(folder)
    assert not isinstance(lm.model, LlamaLM)
    assert isinstance(few.head, PackedLinear) and isinstance(few.modules[1].down, PackedLinear)
    prompt = few.tokenize(["Ida Brandt opened the bridge."])[0]
    assert len(list(decode_stream(few, prompt, None, 4))) == 4


def test_they_are_written_once_and_anew_if_the_weights_change(folder: Path) -> None:
    load(folder)
    written = (folder / FILE).stat().st_mtime_ns
    left = folder / f"{FILE}.{'0a' * 8}.part"
    left.write_bytes(b"of a process that died")
    os.utime(left, (1, 1))
    load(folder)
    assert (folder / FILE).stat().st_mtime_ns == written and not left.exists()
    weights = load_file(folder / "model.safetensors")
    save_file({n: torch.randn_like(w) for n, w in weights.items()}, folder / "model.safetensors")
    lm, few = load(folder)
    assert few is lm
    assert load_file(folder / FILE) == {}  # so that nothing is searched the next time


@pytest.mark.parametrize("content", [b"", b"cut short"])
def test_a_damaged_file_is_written_again(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    lm, few = load(folder)
    assert few is not lm


@pytest.mark.parametrize(
    ("part", "damage"),
    [
        ("weights", lambda x: x[:, :, :8].contiguous()),
        ("weights", torch.Tensor.float),
        ("scales", lambda x: x[:, :1].contiguous()),
        ("scales", torch.Tensor.float),
    ],
)
def test_what_does_not_fit_is_not_multiplied_with(
    folder: Path, part: str, damage: Callable[[Tensor], Tensor]
) -> None:
    load(folder)
    with safe_open(folder / FILE, "pt") as stored:
        metadata = stored.metadata()
    tensors = load_file(folder / FILE)
    name = next(name for name in tensors if name.endswith(part))
    save_file(tensors | {name: damage(tensors[name])}, folder / FILE, metadata)
    lm, few = load(folder)
    assert few is lm


def test_where_it_does_not_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr("models.base.native.folder.replace_file", refuse)
        lm, few = load(folder)
        assert few is lm
        patch.setattr("models.base.native.folder.os.access", lambda *_: False)
        patch.setattr("models.base.native.packed.pack", lambda _: pytest.fail("in vain"))
        lm, few = load(folder)
        assert few is lm
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    lm, few = load(folder)
    assert few is lm


def test_bfloat16_weights_are_kept_and_not_converted_again(folder: Path) -> None:
    load(folder)
    assert not (folder / BFLOAT16_WEIGHTS).exists()  # only where the folder is ours
    wanted = BaseLM.load(folder, device=CPU, dtype=torch.bfloat16).model.state_dict()
    for _ in range(2):
        lm = BaseLM.load(folder, device=CPU, dtype=torch.bfloat16, keep=True)
        assert lm.model.state_dict().keys() == wanted.keys()
        assert all(torch.equal(w, wanted[n]) for n, w in lm.model.state_dict().items())
        assert (folder / BFLOAT16_WEIGHTS).exists()
    (folder / BFLOAT16_WEIGHTS).write_bytes(b"cut short")
    lm = BaseLM.load(folder, device=CPU, dtype=torch.bfloat16, keep=True)
    assert torch.equal(lm.head.weight, wanted["model.embed_tokens.weight"])


def test_what_generates_has_few_bits_where_the_folder_is_ours(
    folder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    base = BaseModels(Names(str(folder)), device="cpu")
    assert isinstance(base.generating_lm.head, PackedLinear)
    assert not isinstance(base.lm.head, PackedLinear)
    exact = BaseModels(Names(str(folder)), device="cpu", precision="fp32")
    assert exact.generating_lm is exact.lm
    elsewhere = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (elsewhere / FILE).unlink()
    (elsewhere / BFLOAT16_WEIGHTS).unlink(missing_ok=True)
    other = BaseModels(Names(str(elsewhere)), device="cpu")
    assert other.generating_lm is other.lm
    assert not (elsewhere / FILE).exists() and not (elsewhere / BFLOAT16_WEIGHTS).exists()


@pytest.mark.real
def test_the_default_model_has_few_bits_and_says_the_same() -> None:
    folder = resolve(DEFAULT_LM)
    all_bits, few = load(folder, torch.float32)
    assert len(few.modules[0].down.parts) == 1 and len(few.head.parts) == 2
    prompt = few.text.chat("What is the capital of France? One word.")
    assert prompt is not None
    assert list(decode_stream(few, prompt, None, 8)) == list(
        decode_stream(all_bits, prompt, None, 8)
    )
