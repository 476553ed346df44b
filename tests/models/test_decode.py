"""Decoding with few operations, and with guesses, against transformers and slow references."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.base.decode import Decoder
from models.base.draft import Draft
from models.base.generate import generate_batch
from models.base.lm import BaseLM
from models.latent.networks import pack
from models.weights.resolve import DEFAULT_LM, resolve

from .conftest import FAMILIES, MakeLM

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize to the poet Tomas Reyl.", "Who opened the bridge?", "It rained."]


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_gpt2"])
def lm(request: pytest.FixtureRequest) -> BaseLM:
    return BaseLM.load(request.getfixturevalue(request.param), device=CPU, dtype=torch.float32)


def _expected(lm: BaseLM, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    found: list[int] = lm.model.generate(
        ids,
        attention_mask=torch.ones_like(ids),
        do_sample=False,
        max_new_tokens=tokens,
        pad_token_id=lm.eos_id,
        eos_token_id=lm.eos_id,
    )[0, len(prompt) :].tolist()
    return found[: found.index(lm.eos_id)] if lm.eos_id in found else found


@pytest.mark.usefixtures("any_byte")
def test_tokens_are_those_of_transformers_and_of_batches(lm: BaseLM) -> None:
    decoder = Decoder(lm)
    for prompt in lm.tokenize(TEXTS):
        found = [token for token, _ in decoder.stream(prompt, None, 24)]
        assert found == _expected(lm, prompt, 24)
        assert found == generate_batch(lm, [prompt], None, 24)[0]


@pytest.mark.parametrize("kind", FAMILIES)
@pytest.mark.usefixtures("any_byte")
def test_guesses_change_no_token(kind: str, make_lm: MakeLM) -> None:
    wide = make_lm(kind)
    if not Draft.suits(wide):
        pytest.skip("this machine has no use for a narrow copy")
    plain, guessing = Decoder(wide, patience=None), Decoder(wide, patience=0)
    list(guessing.stream([1], None, 1))  # old enough from now on
    for prompt in wide.tokenize(TEXTS):
        expected = list(plain.stream(prompt, None, 40))
        found = list(guessing.stream(prompt, None, 40))
        assert [t for t, _ in found] == [t for t, _ in expected] == _expected(wide, prompt, 40)
        torch.testing.assert_close(
            torch.tensor([p for _, p in found]),
            torch.tensor([p for _, p in expected]),
            atol=1e-3,
            rtol=0,
        )


def test_guesses_save_passes_over_the_exact_weights(make_lm: MakeLM) -> None:
    """Weights that 16 values a group hold anyway are guessed from nearly without error."""
    wide = make_lm("Llama")
    if not Draft.suits(wide):
        pytest.skip("this machine has no use for a narrow copy")
    for layer in wide.layers:
        for linear in layer.modules():
            if isinstance(linear, torch.nn.Linear):
                groups = linear.weight.data.unflatten(1, (-1, 32))
                low, high = (x[..., None] for x in groups.aminmax(dim=2))
                step = (high - low) / 15
                groups.copy_(((groups - low) / step).round() * step + low)
    decoder = Decoder(wide, patience=0)
    list(decoder.stream([1], None, 1))
    passes = 0
    run = decoder._blocks.run

    def count(ids: Any, cache: Any, products: Any, watch: Any = None) -> Any:
        nonlocal passes
        passes += products is decoder._blocks.own
        return run(ids, cache, products, watch)

    decoder._blocks.run = count  # type: ignore[method-assign]
    tokens = sum(len(list(decoder.stream(p, None, 40))) for p in wide.tokenize(TEXTS))
    assert tokens > 2 * passes


@pytest.mark.parametrize("guessing", [False, True])
def test_log_probabilities_and_attention_are_those_of_transformers(
    guessing: bool, lm: BaseLM, build_memory: Any, make_lm: MakeLM, tmp_path: Path
) -> None:
    """A full-rank prefix is text in the prompt, where transformers shows what is paid to it."""
    if lm.model.config.model_type == "gemma3_text":
        pytest.skip("a sliding window does not reach back over a prompt, but always over a prefix")
    if guessing:
        lm = make_lm("Llama")
        if not Draft.suits(lm):
            pytest.skip("this machine has no use for a narrow copy")
    lm.model.save_pretrained(tmp_path)
    lm.tokenizer.save_pretrained(tmp_path)
    memory = build_memory(tmp_path, full_rank=True)
    lm, stack = memory.lm, memory.stack
    document, question = lm.tokenize([TEXTS[0], TEXTS[1]])
    with torch.no_grad():
        constant = lm.features(lm.pad([[lm.bos_id]])).flatten(2)[0]
        stack.head.constant.copy_(stack.amortizer.normalise(constant))
        z = stack.amortizer(lm.features(lm.pad([[lm.bos_id, *document]])).flatten(2)[0, 1:])
        prefix = stack.prefix(lm, *pack([[z]]), torch.zeros(1, 1))
    decoder = Decoder(lm, patience=0 if guessing else None)
    list(decoder.stream([1], None, 1))
    watch = torch.zeros_like(prefix.bias)
    answer = list(decoder.stream(question, prefix, 12, watch))
    assert len(answer) > 3

    lm.model.set_attn_implementation("eager")
    ids = torch.tensor([[lm.bos_id, *document, *question, *(t for t, _ in answer)]])
    with torch.no_grad():
        out = lm.model(ids, output_attentions=True)
    # The question's last token chose the first token, and so on; an end of sequence was chosen too.
    size = 1 + len(document)
    choosers = slice(size + len(question) - 1, -1 if len(answer) == 12 else None)
    paid = torch.stack(out.attentions)[:, 0, :, choosers, :size].sum((0, 1, 2))
    torch.testing.assert_close(watch[0], paid, atol=2e-3, rtol=2e-3)
    scores = out.logits[0, size + len(question) - 1 : -1].log_softmax(-1)
    chosen = scores.gather(1, torch.tensor([[t] for t, _ in answer]))[:, 0]
    torch.testing.assert_close(chosen, torch.tensor([p for _, p in answer]), atol=2e-3, rtol=0)


def test_nothing_is_asked_for_and_nothing_comes(lm: BaseLM) -> None:
    assert list(Decoder(lm).stream([1, 5], None, 0)) == []


@pytest.mark.real
def test_the_real_model_says_what_generate_says() -> None:
    lm = BaseLM.load(resolve(DEFAULT_LM), device=CPU, dtype=torch.float32)
    decoder = Decoder(lm, patience=0)
    for question in ("Explain how rain forms.", "List five tips for learning a language."):
        message = [{"role": "user", "content": question}]
        tokenizer: Any = lm.tokenizer
        prompt = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        for _ in range(2):  # without guesses, then with them
            found = [token for token, _ in decoder.stream(prompt, None, 40)]
            assert found == _expected(lm, prompt, 40)
