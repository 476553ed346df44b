"""Every family of base LMs through the one code path, against transformers' own models."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn import functional as F

from models.base.decode import decode_stream, generate_batch
from models.base.encoder import SentenceEncoder
from models.base.lm import BaseLM, Prefix
from models.errors import ModelError, UnsupportedModelError
from models.latent.config import LatentConfig
from models.latent.features import FeatureCache
from models.latent.initialise import initialise
from models.latent.networks import LatentStack, pack
from models.latent.objective import loss
from models.paper import objective as paper
from models.paper.config import PaperConfig
from models.paper.method import instruction_prefix
from models.paper.reading import TokenReader
from models.paper.stack import PaperStack
from models.training.batches import Batch
from models.training.corpus import build

from ..conftest import FAMILIES, POSITIONS, prizes

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize to the poet Tomas Reyl.", "Who opened the bridge?", "It rained."]
MakeLM = Callable[..., BaseLM]


@pytest.mark.parametrize("kind", FAMILIES)
def test_logits_are_those_of_transformers(kind: str, make_lm: MakeLM) -> None:
    lm = make_lm(kind)
    for row in lm.tokenize(TEXTS):
        ids = torch.tensor([row])
        with torch.no_grad():
            found, expected = lm.logits(lm.forward(ids)), lm.full_model(ids).logits
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def _prefix(lm: BaseLM, tokens: int, sequences: int = 1) -> Prefix:
    """Random keys and values, as those of a trained prefix head, one group a sequence."""
    generator = torch.Generator().manual_seed(7)
    shape = lm.shape
    size = (shape.layers, 2, sequences, shape.kv_heads, tokens, shape.head_size)
    x = torch.randn(size, generator=generator)
    length = torch.full((sequences,), tokens)
    return Prefix(x[:, 0].unbind(), x[:, 1].unbind(), torch.zeros(sequences, tokens), length)


def _past(lm: BaseLM, prefix: Prefix) -> Any:
    """The same keys and values as transformers takes them."""
    from transformers import DynamicCache

    past = DynamicCache(config=lm.model.config)
    for i, (keys, values) in enumerate(zip(prefix.keys, prefix.values, strict=True)):
        past.update(keys.clone(), values.clone(), i)
    return past


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_prefix_is_what_transformers_calls_past_keys_and_values(
    kind: str, make_lm: MakeLM
) -> None:
    # The window is wide: it would hide the prefix from transformers' tokens, and never does here.
    lm = make_lm(kind, window=64)
    ids = torch.tensor([row[:5] for row in lm.tokenize(TEXTS[:2])])
    prefix = _prefix(lm, 3, sequences=2)
    with torch.no_grad():
        found = lm.logits(lm.forward(ids, prefix))
        expected = lm.full_model(ids, past_key_values=_past(lm, prefix)).logits
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.usefixtures("any_byte")
def test_decoding_behind_a_prefix_is_greedy(kind: str, make_lm: MakeLM) -> None:
    lm = make_lm(kind, window=64)
    prefix = _prefix(lm, 3)
    prompt = lm.tokenize(TEXTS)[0]
    answer = list(decode_stream(lm, prompt, prefix, 12))
    assert answer == generate_batch(lm, [prompt], prefix, 12)[0]
    with torch.no_grad():
        ids = torch.tensor([prompt + answer])
        chosen = lm.full_model(ids, past_key_values=_past(lm, prefix)).logits[0].argmax(-1).tolist()
    assert answer == chosen[len(prompt) - 1 :][: len(answer)]
    assert len(answer) == 12 or chosen[-1] == lm.eos_id


def _full_rank(build_memory: Any, folder: Path) -> tuple[Any, torch.Tensor, list[int]]:
    """A memory whose one constant token is the first token's, a document's latents, its tokens."""
    memory = build_memory(folder, full_rank=True)
    lm, stack = memory.lm, memory.stack
    document = lm.tokenize([TEXTS[0]])[0]
    with torch.no_grad():
        first = lm.features(lm.pad([[lm.bos_id]])).flatten(2)[0]
        stack.head.constant.copy_(stack.amortizer.normalise(first))
        x = lm.features(lm.pad([[lm.bos_id, *document]])).flatten(2)[0, 1:]
        return memory, stack.amortizer(x), document


def test_learned_positions_stay_in_the_keys_of_a_document(
    tiny_gpt2: Path, build_memory: Any
) -> None:
    """What a prefix of GPT-2 equals: the text in the prompt, where the question starts behind it.

    A document is read at positions 0 to T - 1 (its begin-of-sequence token is the constant prefix
    token), and these are in its keys for good. Placed so that the question starts at T, the prefix
    gives the logits of document and question in one prompt. Placed anywhere else its keys are the
    same ones, unlike those of a rotary embedding: only the question's own positions move.
    """
    memory, z, document = _full_rank(build_memory, tiny_gpt2)
    lm, stack = memory.lm, memory.stack
    question = lm.tokenize([TEXTS[1]])[0]
    with torch.no_grad():
        prefix = stack.prefix(lm, *pack([[z]]), torch.zeros(1, 1))
        assert int(prefix.length[0]) == 1 + len(document)
        found = lm.logits(lm.forward(lm.pad([question]), prefix))[0]
        prompt = lm.pad([[lm.bos_id, *document, *question]])
        expected = lm.full_model(prompt).logits[0, -len(question) :]
        torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)

        latents, place, which = pack([[z]])
        moved = stack.prefix(lm, latents, place + 20, which, torch.zeros(1, 1))
        assert int(moved.length[0]) == 21 + len(document)
        for one, other in zip(moved.keys, prefix.keys, strict=True):
            assert torch.equal(one, other)
        assert (lm.logits(lm.forward(lm.pad([question]), moved))[0] - found).abs().max() > 0.1


def _corpus(lm: BaseLM, encoder: SentenceEncoder) -> Any:
    examples = prizes("The jury gave prize number {i} to {name}.", 4)
    corpus = build([examples], lambda texts: [len(r) for r in lm.tokenize(texts)], chunk_tokens=64)
    corpus.embed(encoder, note=lambda _: None)
    return corpus


BATCH = Batch(
    [[0, 1], [2, 3]],
    [0, 1, 2, 3],
    torch.tensor([0, 1, 0, 1]),
    torch.ones(4, 2, dtype=torch.bool),
)


@pytest.mark.parametrize("stack", ["latent", "paper"])
@pytest.mark.parametrize("kind", FAMILIES)
def test_a_step_of_training_lowers_the_loss_and_leaves_the_base_lm(
    kind: str, stack: str, make_lm: MakeLM, tiny_encoder: Path
) -> None:
    lm = make_lm(kind)
    encoder = SentenceEncoder.load(tiny_encoder, device=CPU)
    corpus = _corpus(lm, encoder)
    before = copy.deepcopy(lm.model.state_dict())
    shape = lm.shape
    sizes: dict[str, Any] = {
        **{"base_lm": "made", "base_sha256": None, "encoder": "made", "encoder_sha256": None},
        **{"layers": shape.layers, "kv_heads": shape.kv_heads, "head_size": shape.head_size},
        **{"key_size": encoder.size, "chunk_tokens": 64},
    }
    networks: LatentStack | PaperStack
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        if stack == "latent":
            networks = LatentStack(LatentConfig(**sizes, latent_size=16, constant_tokens=4))
            initialise(networks, lm, corpus.chunks)
            cache = FeatureCache(lm, 64, None, networks.amortizer.mean)

            def measure() -> torch.Tensor:
                return loss(networks, lm, corpus, cache, BATCH).answer
        else:
            network = {
                **{"model_type": "t5", "vocab_size": len(lm.tokenizer), "d_model": 32, "d_kv": 8},
                **{"d_ff": 48, "num_heads": 4, "num_layers": 1, "num_decoder_layers": 1},
                **{"decoder_start_token_id": 0, "dropout_rate": 0.0},
            }
            small = {"blocks": 1, "heads": 2, "attention_size": 8, "head_hidden": 32, "tokens": 4}
            networks = PaperStack(
                PaperConfig(**sizes, **small, hidden_size=shape.hidden_size, network=network)
            )
            instruction_prefix(networks.head, lm)
            reader = TokenReader(lm.tokenizer, lm.device)

            def measure() -> torch.Tensor:
                return paper.loss(networks, lm, reader, corpus, BATCH).answer

    first = measure()
    first.backward()
    # A short step against the gradient, which must be that of the loss.
    gradients = [p.grad for p in networks.parameters() if p.grad is not None]
    assert gradients and all(torch.isfinite(g).all() for g in gradients)
    squares = sum(g.pow(2).sum() for g in gradients)
    with torch.no_grad():
        step = 1e-3 * first / squares
        for parameter in networks.parameters():
            if parameter.grad is not None:
                parameter -= step * parameter.grad
        assert measure() < first
    for name, tensor in lm.model.state_dict().items():
        assert torch.equal(tensor, before[name])
    assert all(p.grad is None for p in lm.model.parameters())


def test_more_tokens_than_positions_are_refused(make_lm: MakeLM) -> None:
    lm = make_lm("GPT2")
    prefix = _prefix(lm, 30)
    ids = torch.full((1, POSITIONS - 30), 5)
    lm.forward(ids, prefix)
    wrong = f"has {POSITIONS} positions, .* take {POSITIONS + 1}"
    longer = torch.full((1, POSITIONS - 29), 5)
    for attempt in (
        lambda: lm.forward(longer, prefix),
        lambda: lm.features(torch.full((1, POSITIONS + 1), 5)),
        lambda: list(decode_stream(lm, longer[0].tolist(), prefix, 4)),
        lambda: generate_batch(lm, [[5], longer[0].tolist()], prefix, 4),
    ):
        with pytest.raises(ModelError, match=wrong):
            attempt()


def test_an_answer_ends_where_the_positions_do(make_lm: MakeLM) -> None:
    lm = make_lm("GPT2")
    lm.eos_id = -1  # never chosen
    prompt = [5] * (POSITIONS - 4)
    answer = list(decode_stream(lm, prompt, None, 32))
    # The last of them is chosen at the last position, and is never read.
    assert len(answer) == 5
    lm.eos_id = 2
    until = answer[: answer.index(2)] if 2 in answer else answer
    assert generate_batch(lm, [prompt], None, 32) == [until]


def test_layers_scaled_by_their_depth(make_lm: MakeLM) -> None:
    """A setting with which some models of GPT-2's shape were trained."""
    from transformers import GPT2Config, GPT2LMHeadModel

    torch.manual_seed(5)
    config = GPT2Config(
        vocab_size=384, n_embd=24, n_layer=3, n_head=3, n_positions=32,
        scale_attn_by_inverse_layer_idx=True, activation_function="gelu",
    )  # fmt: skip
    model = GPT2LMHeadModel(config)
    for weight in model.parameters():
        torch.nn.init.normal_(weight, std=0.5)
    lm = BaseLM(model, make_lm("GPT2").tokenizer)
    ids = torch.arange(3, 20)[None]
    with torch.no_grad():
        found, expected = lm.logits(lm.forward(ids)), model(ids).logits
    torch.testing.assert_close(found, expected, atol=1e-3, rtol=1e-3)


def test_other_architectures_are_refused(tmp_path: Path) -> None:
    from transformers import OPTConfig, OPTForCausalLM

    sizes = {"hidden_size": 16, "ffn_dim": 16, "num_hidden_layers": 1, "num_attention_heads": 2}
    model = OPTForCausalLM(OPTConfig(vocab_size=32, word_embed_proj_dim=16, **sizes))
    model.save_pretrained(tmp_path)
    with pytest.raises(UnsupportedModelError, match="'opt' is not supported") as refused:
        BaseLM.load(tmp_path, device=CPU, dtype=torch.float32)
    assert "gpt2" in str(refused.value.hint)
    with pytest.raises(UnsupportedModelError, match="'opt'"):
        BaseLM(model, None)  # type: ignore[arg-type]


@pytest.mark.parametrize("kind", FAMILIES)
def test_a_language_model_s_loss_is_the_same(kind: str, make_lm: MakeLM) -> None:
    """With gradients to the weights, as when the rivals fine-tune the base LM itself."""
    lm = make_lm(kind)
    ids = lm.pad(lm.tokenize(TEXTS[:1]))
    lm.model.requires_grad_(True)
    logits = lm.logits(lm.forward(ids[:, :-1]))[0]
    gradients = []
    for out in (logits, lm.full_model(ids[:, :-1]).logits[0]):
        lm.model.zero_grad()
        F.cross_entropy(out, ids[0, 1:]).backward()
        gradients.append([p.grad.clone() for p in lm.model.parameters() if p.grad is not None])
    assert len(gradients[0]) == len(list(lm.model.parameters()))
    torch.testing.assert_close(gradients[0], gradients[1], atol=1e-4, rtol=1e-3)
