"""Decoding against transformers and slow references."""

from pathlib import Path
from typing import Any

import pytest
import torch

from models.base.attention import STEP
from models.base.decode import decode_stream, generate_batch
from models.base.lm import BaseLM
from models.latent.networks import pack
from models.weights.pinned import DEFAULT_LM
from models.weights.resolve import resolve

CPU = torch.device("cpu")
TEXTS = ["The jury gave the prize to the poet Tomas Reyl.", "Who opened the bridge?", "It rained."]


@pytest.fixture(params=["tiny_llama", "tiny_qwen2", "tiny_gemma3", "tiny_gpt2"])
def folder(request: pytest.FixtureRequest) -> Path:
    path: Path = request.getfixturevalue(request.param)
    return path


@pytest.fixture
def lm(folder: Path) -> BaseLM:
    return BaseLM.load(folder, device=CPU, dtype=torch.float32)


def _expected(lm: BaseLM, prompt: list[int], tokens: int) -> list[int]:
    ids = torch.tensor([prompt])
    found: list[int] = lm.full_model.generate(
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
    for prompt in lm.tokenize(TEXTS):
        found = list(decode_stream(lm, prompt, None, 24))
        assert found == _expected(lm, prompt, 24)
        assert found == generate_batch(lm, [prompt], None, 24)[0]


@pytest.mark.parametrize("prefixed", [False, True])
def test_reading_with_a_cache_is_reading_without(lm: BaseLM, prefixed: bool) -> None:
    """Generating attends, rotates and normalises by other operations than scoring does."""
    prefix = lm.read([lm.bos_id, *lm.tokenize(TEXTS)[0]]) if prefixed else None
    rows = [row * 3 for row in lm.tokenize(TEXTS)]  # longer than a sliding window
    ids, lengths = lm.pad(rows), torch.tensor([len(row) for row in rows])
    if prefix is not None:
        prefix = prefix._replace(bias=prefix.bias.expand(len(rows), -1) + 0.5)
    more = torch.tensor([[7], [8], [9]])
    cache = lm.new_cache(prefix, len(rows), ids.shape[1] + 1)
    with torch.no_grad():
        found = lm.forward(ids, cache=cache)
        cache.hide_padding(lengths)
        after = lm.forward(more, cache=cache)[:, 0]
        expected = lm.forward(ids, prefix)
        whole = [[*row, int(n)] for row, n in zip(rows, more, strict=True)]
        last = lm.forward(lm.pad(whole), prefix)
    real = torch.arange(ids.shape[1]) < lengths[:, None]
    torch.testing.assert_close(found[real], expected[real], atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(after, last[torch.arange(3), lengths], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("prefixed", [False, True])
def test_a_fork_goes_on_from_what_was_read(lm: BaseLM, prefixed: bool) -> None:
    prefix = lm.read([lm.bos_id, *lm.tokenize(TEXTS)[0]]) if prefixed else None
    before = lm.tokenize(TEXTS)[0] * 3  # longer than a sliding window
    after = torch.tensor([[7, 11], [8, 12], [9, 13]])
    cache = lm.new_cache(prefix, 1, len(before))
    with torch.no_grad():
        lm.forward(lm.pad([before]), cache=cache)
        found = lm.forward(after, cache=cache.fork(3, 2))
        if prefix is not None:
            prefix = prefix._replace(bias=prefix.bias.expand(3, -1))
        whole = lm.forward(torch.cat((lm.pad([before] * 3), after), 1), prefix)
    torch.testing.assert_close(found, whole[:, -2:], atol=1e-4, rtol=1e-4)


def test_the_shapes_of_single_steps_stay_the_same_for_a_while(lm: BaseLM) -> None:
    """For each new shape torch prepares a product anew, and keeps it."""
    prompt = [lm.bos_id, *lm.tokenize(TEXTS)[0]]
    cache, seen = lm.new_cache(None, 1, len(prompt) + 2 * STEP), set()
    with torch.no_grad():
        lm.forward(lm.pad([prompt]), cache=cache)
        assert cache.seen == cache.length == len(prompt)
        for _ in range(2 * STEP):
            one = lm.forward(lm.pad([[5]]), cache=cache)
            seen.add(cache.seen)
        whole = lm.forward(lm.pad([prompt + [5] * 2 * STEP]))
    assert len(seen) <= 3 and max(seen) == cache.length
    torch.testing.assert_close(one[0, -1], whole[0, -1], atol=1e-4, rtol=1e-4)


def test_log_probabilities_and_attention_are_those_of_transformers(
    folder: Path, build_memory: Any
) -> None:
    """A full-rank prefix is text in the prompt, where transformers shows what is paid to it."""
    memory = build_memory(folder, full_rank=True)
    lm, stack = memory.lm, memory.stack
    if lm.model.config.model_type == "gemma3_text":
        pytest.skip("a sliding window does not reach back over a prompt, but always over a prefix")
    document, question = lm.tokenize([TEXTS[0], TEXTS[1]])
    with torch.no_grad():
        constant = lm.features(lm.pad([[lm.bos_id]])).flatten(2)[0]
        stack.head.constant.copy_(stack.amortizer.normalise(constant))
        z = stack.amortizer(lm.features(lm.pad([[lm.bos_id, *document]])).flatten(2)[0, 1:])
        prefix = stack.prefix(lm, *pack([[z]]), torch.zeros(1, 1))
    watch = torch.zeros_like(prefix.bias)
    answer = list(decode_stream(lm, question, prefix, 12, watch))
    assert len(answer) > 3
    with torch.no_grad():
        ours = lm.logits(lm.forward(torch.tensor([[*question, *answer]]), prefix))

    lm.full_model.set_attn_implementation("eager")
    ids = torch.tensor([[lm.bos_id, *document, *question, *answer]])
    with torch.no_grad():
        out = lm.full_model(ids, output_attentions=True)
    # The question's last token chose the first token, and so on; an end of sequence was chosen too.
    size = 1 + len(document)
    choosers = slice(size + len(question) - 1, -1 if len(answer) == 12 else None)
    paid = torch.stack(out.attentions)[:, 0, :, choosers, :size].sum((0, 1, 2))
    torch.testing.assert_close(watch[0], paid, atol=2e-3, rtol=2e-3)
    chosen = torch.tensor(answer)[:, None]
    log_probabilities, expected = (
        logits[0, start + len(question) - 1 : -1].log_softmax(-1).gather(1, chosen)
        for logits, start in ((ours, 0), (out.logits, size))
    )
    torch.testing.assert_close(log_probabilities, expected, atol=2e-3, rtol=0)


def test_nothing_is_asked_for_and_nothing_comes(lm: BaseLM) -> None:
    assert list(decode_stream(lm, [1, 5], None, 0)) == []


@pytest.mark.real
def test_the_real_model_says_what_generate_says() -> None:
    lm = BaseLM.load(resolve(DEFAULT_LM), device=CPU, dtype=torch.float32)
    for question in ("Explain how rain forms.", "List five tips for learning a language."):
        message = [{"role": "user", "content": question}]
        tokenizer: Any = lm.tokenizer
        prompt = tokenizer.apply_chat_template(
            message, add_generation_prompt=True, return_dict=True
        )["input_ids"]
        found = list(decode_stream(lm, prompt, None, 40))
        assert found == _expected(lm, prompt, 40)
