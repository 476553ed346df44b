"""The layer-by-layer base LM against transformers' own forward pass."""

from pathlib import Path

import pytest
import torch

from models.base.batching import length_batches
from models.base.decode import generate_batch
from models.base.lm import BaseLM
from models.errors import WeightsError

CPU = torch.device("cpu")


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_gpt2"])
def lm(request: pytest.FixtureRequest) -> BaseLM:
    return BaseLM.load(request.getfixturevalue(request.param), device=CPU, dtype=torch.float32)


TEXTS = ["The jury gave the prize to the poet Tomas Reyl.", "Who opened the bridge?", "It rained."]


def test_logits_are_those_of_transformers(lm: BaseLM) -> None:
    for row in lm.tokenize(TEXTS):
        ids = torch.tensor([row])
        with torch.no_grad():
            expected = lm.full_model(ids).logits
            found = lm.logits(lm.forward(ids))
        torch.testing.assert_close(found, expected, atol=2e-4, rtol=1e-4)


def test_features_are_the_projections_before_the_rotary_embedding(lm: BaseLM) -> None:
    seen: dict[tuple[int, int], torch.Tensor] = {}
    for i, layer in enumerate(lm.layers):
        if lm.model.config.model_type == "gpt2":
            modules = [(None, layer.attn.c_attn)]
        else:
            key = getattr(layer.self_attn, "k_norm", layer.self_attn.k_proj)
            modules = [(0, key), (1, layer.self_attn.v_proj)]
        for kind, module in modules:
            module.register_forward_hook(
                lambda _, __, out, at=(i, kind): seen.__setitem__(at, out.detach())
            )
    ids = lm.pad(lm.tokenize(TEXTS[:1]))
    lm.full_model(ids)
    expected = dict(seen)
    found = lm.features(ids)
    for (i, kind), out in expected.items():
        if kind is None:  # queries, keys and values in one row
            for kind, part in enumerate(out.chunk(3, -1)[1:]):
                torch.testing.assert_close(found[:, :, i, kind], part, atol=2e-4, rtol=1e-4)
            continue
        if out.dim() == 4:  # norms come after the heads are split
            out = out.transpose(1, 2).flatten(2)
        torch.testing.assert_close(found[:, :, i, kind], out, atol=2e-4, rtol=1e-4)


def test_padding_changes_nothing(lm: BaseLM) -> None:
    rows = lm.tokenize(TEXTS)
    together = lm.features(lm.pad(rows))
    for i, row in enumerate(rows):
        torch.testing.assert_close(
            together[i, : len(row)], lm.features(lm.pad([row]))[0], atol=1e-4, rtol=1e-4
        )


def test_leaving_padding_out_changes_nothing(lm: BaseLM) -> None:
    rows = lm.tokenize(TEXTS)
    ids = lm.pad(rows)
    real = torch.arange(ids.shape[1]) < torch.tensor([[len(row)] for row in rows])
    with torch.no_grad():
        found, expected = lm.forward(ids, real=real), lm.forward(ids)
    torch.testing.assert_close(found[real], expected[real], atol=1e-4, rtol=1e-4)
    assert not found[~real].any()


@pytest.mark.usefixtures("any_byte")
def test_greedy_answers_are_those_of_generate(lm: BaseLM) -> None:
    rows = lm.tokenize(TEXTS)
    found = generate_batch(lm, rows, None, 12)
    for row, ours in zip(rows, found, strict=True):
        ids = torch.tensor([row])
        expected = lm.full_model.generate(
            ids,
            attention_mask=torch.ones_like(ids),
            do_sample=False,
            max_new_tokens=12,
            pad_token_id=lm.eos_id,
            eos_token_id=lm.eos_id,
        )[0, len(row) :].tolist()
        expected = expected[: expected.index(lm.eos_id)] if lm.eos_id in expected else expected
        assert ours == expected


def test_weights_are_frozen(lm: BaseLM) -> None:
    assert not any(parameter.requires_grad for parameter in lm.model.parameters())


def test_a_folder_without_weights_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WeightsError, match="no readable base language model"):
        BaseLM.load(tmp_path, device=CPU, dtype=torch.float32)


def test_length_batches_hold_everything_within_the_bound() -> None:
    lengths = [5, 1, 9, 3, 3, 12, 40]
    batches = list(length_batches(lengths, 20))
    assert sorted(i for batch in batches for i in batch) == list(range(len(lengths)))
    for batch in batches:
        assert len(batch) == 1 or len(batch) * max(lengths[i] for i in batch) <= 20
