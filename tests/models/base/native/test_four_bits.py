"""Weights in the 4 bits that they came in: found again without loss, and the same answers."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

from models.base.decode import decode_stream
from models.base.lm import BaseLM
from models.base.native import four_bits
from models.base.native.folder import read_config
from models.base.native.four_bits import FILE, FourBitLinear
from models.base.native.llama import LlamaLM
from models.base.tokens import load_tokenizer
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
    torch.backends.cpu.get_cpu_capability() not in four_bits.PROCESSORS,
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


def four_bit_weight(rows: int, columns: int) -> Tensor:
    """Return weights as a Q4_1 file holds them: both ends of the 16 steps are in every group."""
    n = torch.randint(0, 16, (rows, columns // 32, 32)).float()
    n[..., 3], n[..., 7] = 0, 15
    scale = (torch.rand(rows, columns // 32, 1) * 0.02).half().float()
    minimum = (torch.rand(rows, columns // 32, 1) * -0.2).half().float()
    return (n * scale + minimum).flatten(1)


@pytest.fixture
def folder(tiny_llama: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A tiny model whose linear maps have 4 bits a weight, in the cache of base models."""
    monkeypatch.setenv("MAC_HOME", str(tmp_path))
    folder = Path(shutil.copytree(tiny_llama, tmp_path / "models" / "llama"))
    config = json.loads((folder / "config.json").read_text()) | SIZES
    (folder / "config.json").write_text(json.dumps(config))
    weights = LlamaLM(read_config(folder)).state_dict()
    for name, weight in weights.items():
        if "proj" in name:
            weights[name] = four_bit_weight(*weight.shape)
        elif "embed" in name:
            weights[name] = torch.randn_like(weight)
    save_file(weights, folder / "model.safetensors")
    return folder


def load(folder: Path) -> LlamaLM | None:
    return LlamaLM.load(folder, torch.bfloat16, CPU, in_four_bits=True)


def test_the_numbers_are_found_without_loss() -> None:
    weight = four_bit_weight(32, 96)
    weight[0, :32] = 0.5  # a group of one value
    found = four_bits.quants(weight)
    assert found is not None
    n, scale, minimum = found
    assert n.min() == 0 and n.max() == 15
    groups = n.view(32, 3, 32) * scale[..., None] + minimum[..., None]
    assert torch.equal(groups.flatten(1), weight)


@pytest.mark.parametrize(
    "weight",
    [torch.randn(32, 96), torch.zeros(32, 40), torch.zeros(8, 64)],
    ids=["any numbers", "no whole groups", "too few rows"],
)
def test_other_weights_are_not_taken_for_it(weight: Tensor) -> None:
    assert four_bits.quants(weight) is None


@pytest.mark.parametrize("rows", [1, 5, 40])
def test_the_product_is_that_of_the_weights(rows: int) -> None:
    weight, x = four_bit_weight(64, 96), torch.randn(2, rows, 96)
    packed = four_bits.pack(weight)
    assert packed is not None
    found = FourBitLinear(*packed)(x)
    torch.testing.assert_close(found, x @ weight.T, atol=0.02, rtol=0.02)
    assert FourBitLinear(*packed)(x.bfloat16()).dtype == torch.bfloat16


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_a_model_says_the_same_with_them(folder: Path, dtype: torch.dtype) -> None:
    network = LlamaLM.load(folder, dtype, CPU, in_four_bits=True)
    assert network is not None
    few = BaseLM(network, load_tokenizer(folder))
    all_bits = BaseLM.load(folder, device=CPU, dtype=dtype)
    ids = few.pad(few.tokenize(["Ida Brandt opened the bridge in Varnholt."]))
    with torch.no_grad():
        found, wanted = (lm.logits(lm.forward(ids)).float() for lm in (few, all_bits))
    assert (found - wanted).abs().mean() < 0.03 * wanted.std()


def test_they_are_written_once_and_anew_if_the_weights_change(folder: Path) -> None:
    assert load(folder) is not None
    written = (folder / FILE).stat().st_mtime_ns
    assert load(folder) is not None and (folder / FILE).stat().st_mtime_ns == written
    weights = load_file(folder / "model.safetensors")
    weights["model.layers.0.mlp.up_proj.weight"] = torch.randn(96, 64)
    save_file(weights, folder / "model.safetensors")
    assert load(folder) is None
    assert load_file(folder / FILE) == {}  # so that nothing is searched the next time


@pytest.mark.parametrize("content", [b"", b"cut short"])
def test_a_damaged_file_is_written_again(folder: Path, content: bytes) -> None:
    (folder / FILE).write_bytes(content)
    assert load(folder) is not None


def test_where_it_does_not_go(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise PermissionError

    with monkeypatch.context() as patch:
        patch.setattr(four_bits, "replace_file", refuse)
        assert load(folder) is None
    monkeypatch.setattr(torch.backends.cpu, "get_cpu_capability", lambda: "DEFAULT")
    assert load(folder) is None


def test_what_generates_has_four_bits_where_the_folder_is_ours(
    folder: Path, tiny_llama: Path, tmp_path: Path
) -> None:
    base = BaseModels(Names(str(folder)), device="cpu")
    assert any(isinstance(m, FourBitLinear) for m in base.generating_lm.model.modules())
    assert not any(isinstance(m, FourBitLinear) for m in base.lm.model.modules())
    exact = BaseModels(Names(str(folder)), device="cpu", precision="fp32")
    assert exact.generating_lm is exact.lm
    elsewhere = Path(shutil.copytree(folder, tmp_path / "elsewhere"))
    (elsewhere / FILE).unlink()
    other = BaseModels(Names(str(elsewhere)), device="cpu")
    assert other.generating_lm is other.lm and not (elsewhere / FILE).exists()


@pytest.mark.real
def test_the_default_model_has_four_bits_and_says_the_same() -> None:
    folder = resolve(DEFAULT_LM)
    network = load(folder)
    assert network is not None
    few = BaseLM(network, load_tokenizer(folder))
    all_bits = BaseLM.load(folder, device=CPU, dtype=torch.float32)
    prompt = few.text.chat("What is the capital of France? One word.")
    assert prompt is not None
    assert list(decode_stream(few, prompt, None, 8)) == list(
        decode_stream(all_bits, prompt, None, 8)
    )
