"""The authors' checkpoints: their names and shapes, and what their equations give with them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import T5Config, T5Model

from models.base.lm import Shape
from models.errors import CheckpointError
from models.paper.authors import convert, read
from models.paper.reading import collate
from models.paper.stack import PaperStack

T, D, L, P, HEADS = 3, 40, 2, 2, 8
SHAPE = Shape(L, 5, 8, D)
NAMED: dict[str, Any] = {
    **{"base_lm": "b", "base_sha256": None, "encoder": "e", "encoder_sha256": None},
    **{"key_size": 8, "tokenizer": "t"},
}


def _t5(width: int, **more: Any) -> T5Model:
    config = T5Config(
        vocab_size=50, d_model=width, d_kv=8, d_ff=48, num_layers=2, num_decoder_layers=2,
        num_heads=4, decoder_start_token_id=0, **more,
    )  # fmt: skip
    model = T5Model(config).eval().requires_grad_(False)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.3)
    return model


@pytest.fixture
def theirs() -> dict[str, Tensor]:
    """A random state dict with exactly the names and shapes that their code saves."""
    torch.manual_seed(0)
    out: dict[str, Tensor] = {}

    def linear(name: str, inputs: int, outputs: int, bias: bool = True) -> None:
        out[f"{name}.weight"] = torch.randn(outputs, inputs) / inputs**0.5
        if bias:
            out[f"{name}.bias"] = torch.randn(outputs)

    def norm(name: str, size: int) -> None:
        out[f"{name}.weight"], out[f"{name}.bias"] = 1 + torch.rand(size), torch.randn(size)

    for t5, mlps, width, more in (
        ("enc_decoder", "mlps", 32, {}),
        ("aggregator.question_encoder", "aggregator.mlps", D, {"feed_forward_proj": "gated-gelu"}),
    ):
        model = _t5(width, **more)
        for name, tensor in model.state_dict().items():
            out[f"{t5}.{name}"] = tensor
        for part in ("encoder", "decoder"):  # tied: stored once more under each stack
            out[f"{t5}.{part}.embed_tokens.weight"] = out[f"{t5}.shared.weight"]
        out[f"{t5}.learnable_prompts"] = torch.randn(1, T, width)
        for i in range(T):
            if width != D:
                linear(f"{mlps}.{i}.skip", width, D)
            norm(f"{mlps}.{i}.mlp.0", width)
            linear(f"{mlps}.{i}.mlp.1", width, D)
            linear(f"{mlps}.{i}.mlp.3", D, D)
    for i in range(2):
        block = f"aggregator.cross_attention_list.{i}"
        for name in ("norm1", "norm_context", "norm2"):
            norm(f"{block}.{name}", D)
        for name in ("to_q", "to_k", "to_v"):
            linear(f"{block}.attn.{name}", D, HEADS * 96, bias=False)
        linear(f"{block}.attn.to_out.0", HEADS * 96, D)
        linear(f"{block}.mlp.net.0", D, D)
        linear(f"{block}.mlp.net.3", D, D)
    for i in range(P * L * 2):
        norm(f"token_SA.mlp_layers.{i}.net.0", D)
        linear(f"token_SA.mlp_layers.{i}.net.1", D, 768)
        linear(f"token_SA.mlp_layers.{i}.net.4", 768, D)
    return out


def _layer(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.linear(x, state[f"{name}.weight"], state.get(f"{name}.bias"))


def _norm(state: dict[str, Tensor], name: str, x: Tensor) -> Tensor:
    return F.layer_norm(x, x.shape[-1:], state[f"{name}.weight"], state[f"{name}.bias"])


def _amortized(state: dict[str, Tensor], t5: str, mlps: str, ids: Tensor) -> Tensor:
    """Equation 2 for one text of token ids [S]: T5, then an MLP for each of the T tokens."""
    gated = t5 != "enc_decoder"
    model = _t5(D if gated else 32, **({"feed_forward_proj": "gated-gelu"} if gated else {}))
    names = model.state_dict()
    model.load_state_dict({name: state[f"{t5}.{name}"] for name in names})
    prompts = state[f"{t5}.learnable_prompts"]
    states = model(input_ids=ids[None], decoder_inputs_embeds=prompts).last_hidden_state[0]
    rows = []
    for i, x in enumerate(states):
        skip = _layer(state, f"{mlps}.{i}.skip", x) if not gated else x
        y = torch.tanh(_layer(state, f"{mlps}.{i}.mlp.1", _norm(state, f"{mlps}.{i}.mlp.0", x)))
        rows.append(skip + _layer(state, f"{mlps}.{i}.mlp.3", y))
    return torch.stack(rows)


def _aggregated(state: dict[str, Tensor], x: Tensor, bank: Tensor) -> Tensor:
    """Equation 3 for one question [T, d]."""
    context = bank.flatten(0, 1)
    for i in range(2):
        block = f"aggregator.cross_attention_list.{i}"
        seen = _norm(state, f"{block}.norm_context", context)
        q, k, v = (
            _layer(state, f"{block}.attn.{name}", tokens).view(len(tokens), HEADS, 96)
            for name, tokens in (
                ("to_q", _norm(state, f"{block}.norm1", x)), ("to_k", seen), ("to_v", seen),
            )
        )  # fmt: skip
        weights = (torch.einsum("ihc,jhc->hij", q, k) * 96**-0.5).softmax(-1)
        y = torch.einsum("hij,jhc->ihc", weights, v).flatten(1)
        x = x + _layer(state, f"{block}.attn.to_out.0", y)
        y = F.gelu(_layer(state, f"{block}.mlp.net.0", _norm(state, f"{block}.norm2", x)))
        x = x + _layer(state, f"{block}.mlp.net.3", y)
    return x


def _prefix(state: dict[str, Tensor], x: Tensor) -> Tensor:
    """Keys and values [2 L, heads, P, C] of latents [T, d], as their code lays them out."""
    vectors = P * L * 2
    more = vectors % T
    x = torch.cat((
        x[:more].repeat_interleave(vectors // T + 1, 0), x[more:].repeat_interleave(vectors // T, 0)
    ))  # fmt: skip
    rows = []
    for i, row in enumerate(x):
        net = f"token_SA.mlp_layers.{i}.net"
        y = F.gelu(_layer(state, f"{net}.1", _norm(state, f"{net}.0", row)))
        rows.append(row + _layer(state, f"{net}.4", y))
    return torch.stack(rows).view(P, L * 2, 5, 8).permute(1, 2, 0, 3)


def test_converted_weights_give_what_their_equations_give(theirs: dict[str, Tensor]) -> None:
    stack = convert(theirs, SHAPE, **NAMED).eval()
    documents = [torch.tensor([3, 9, 14, 7]), torch.tensor([5, 5, 21])]
    question = torch.tensor([8, 30, 2, 2, 19])
    with torch.no_grad():
        bank = stack.amortizer(collate(documents))
        asked = stack.question(collate([question]))
        latents = stack.aggregator(asked, bank)
        prefix = stack.head(latents)
    expected_bank = torch.stack([_amortized(theirs, "enc_decoder", "mlps", d) for d in documents])
    name = "aggregator.question_encoder"
    expected_asked = _amortized(theirs, name, "aggregator.mlps", question)
    torch.testing.assert_close(bank, expected_bank, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(asked[0], expected_asked, atol=1e-4, rtol=1e-4)
    expected = _aggregated(theirs, expected_asked, expected_bank)
    torch.testing.assert_close(latents[0], expected, atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(
        prefix[:, :, 0].flatten(0, 1), _prefix(theirs, expected), atol=1e-4, rtol=1e-4
    )


def test_a_file_is_read(theirs: dict[str, Tensor], tmp_path: Path) -> None:
    torch.save({"state_dict": theirs}, tmp_path / "best_f1.pt")
    assert read(tmp_path / "best_f1.pt").keys() == theirs.keys()
    (tmp_path / "broken.pt").write_bytes(b"\x80\x02nothing")
    torch.save({"weights": theirs}, tmp_path / "other.pt")
    torch.save({"state_dict": PaperStack}, tmp_path / "code.pt")
    for name in ("broken.pt", "other.pt", "absent.pt", "code.pt"):
        with pytest.raises(CheckpointError, match=name):
            read(tmp_path / name)


def test_what_does_not_fit_is_named(theirs: dict[str, Tensor]) -> None:
    for changed, shape, message in (
        ({**theirs, "token_SA.extra": torch.zeros(1)}, SHAPE, "1 tensors that are not known"),
        ({n: t for n, t in theirs.items() if n != "mlps.1.mlp.3.bias"}, SHAPE, r"mlps\.1\.mlp\.3"),
        (theirs, Shape(L, 5, 8, 48), "hidden size 40 with 8 keys"),
        (theirs, Shape(L, 1, 8, D), "grouped-query"),
        (
            {**theirs, "mlps.0.mlp.0.weight": torch.ones(3)},
            SHAPE,
            r"mlps\.\*\.mlp\.0\.weight do not fit",
        ),
    ):
        with pytest.raises(CheckpointError, match=message):
            convert(changed, shape, **NAMED)
