"""What a judge reads, and what its files hold."""

from __future__ import annotations

import math
from itertools import pairwise
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from models.base.encoder import SentenceEncoder
from models.errors import CheckpointError
from models.judge.judge import Judge, _reading
from models.judge.network import KINDS, JudgeNetwork
from models.judge.pairs import Pair, PairReader
from models.memory import checkpoint

QUESTION = "Who opened the bridge?"
TEXT = "Ida Brandt opened the bridge in Varnholt. Heavy rain closed the road."


def test_a_pair_is_question_context_and_passage(encoder: SentenceEncoder) -> None:
    [pair] = PairReader(encoder, 64).pairs(QUESTION, TEXT, "Town news\n")
    words = [encoder.tokenizer.decode([token]) for token in pair.ids]
    assert words[0] == "[CLS]" and words[pair.second - 1] == words[-1] == "[SEP]"
    assert pair.first > pair.second
    assert len(pair.spans) == len(pair.ids) - pair.first - 1
    start, end = pair.spans[0]
    assert TEXT.lower().startswith(TEXT[start:end].lower())
    assert pair.spans[-1][1] == len(TEXT)


def test_special_tokens_in_a_passage_are_text(encoder: SentenceEncoder) -> None:
    [pair] = PairReader(encoder, 64).pairs("[SEP] who?", "yes [SEP] no [CLS]")
    ids = [encoder.tokenizer.sep_token_id, encoder.tokenizer.cls_token_id]
    assert [pair.ids.count(i) for i in ids] == [2, 1]


def test_a_long_passage_is_read_in_parts_that_overlap(encoder: SentenceEncoder) -> None:
    text = " ".join(f"word{i}" for i in range(60))
    pairs = PairReader(encoder, 48).pairs(QUESTION, text, "context " * 50)
    assert len(pairs) > 2 and all(len(pair.ids) <= 48 for pair in pairs)
    assert pairs[0].spans[0][0] == 0 and pairs[-1].spans[-1][1] == len(text)
    for one, other in pairwise(pairs):
        assert other.spans[0][0] < one.spans[-1][0]  # nothing falls between two


def test_long_questions_leave_room(encoder: SentenceEncoder) -> None:
    [pair] = PairReader(encoder, 48).pairs("why " * 500, "Because.")
    assert len(pair.ids) <= 48 and pair.spans


def test_readings_do_not_depend_on_their_company(judge: Judge) -> None:
    texts = [TEXT, "Nothing.", "A text of another length, with more words in it than the others."]
    together = judge.read(QUESTION, texts, ["", "Title\n", ""])
    for text, context, reading in zip(texts, ["", "Title\n", ""], together, strict=True):
        [alone] = judge.read(QUESTION, [text], [context])
        assert alone.log_odds == pytest.approx(reading.log_odds, abs=0.02)
        for answer in reading.answers:
            assert answer.log_probability <= 0
            assert answer.span is None or text[slice(*answer.span)] == answer.text


def test_the_best_answers_come_first_and_are_different(judge: Judge) -> None:
    [reading] = judge.read(QUESTION, [TEXT])
    scores = [answer.log_probability for answer in reading.answers]
    assert scores == sorted(scores, reverse=True)
    assert len({answer.text for answer in reading.answers}) == len(scores) > 1
    assert math.exp(scores[0]) <= 1


def test_an_empty_passage_answers_nothing(judge: Judge) -> None:
    [reading] = judge.read(QUESTION, [""])
    assert all(answer.span is None for answer in reading.answers)
    assert judge.read(QUESTION, []) == []


def test_a_second_look_reads_each_sentence_alone(judge: Judge) -> None:
    texts = ["Ida Brandt won. The hall was full.", "", "- Name: Ida; Place: 1\n- Name: Olaf"]
    readings = judge.read_closely(QUESTION, judge.read(QUESTION, texts))
    assert [[part.text for part in reading.sentences] for reading in readings] == [
        ["Ida Brandt won.", "The hall was full."],
        [],
        ["- Name: Ida; Place: 1", "- Name: Olaf"],
    ]
    [alone] = judge.read(QUESTION, ["The hall was full."])
    assert readings[0].sentences[1].log_odds == pytest.approx(alone.log_odds, abs=0.02)
    assert judge.read_closely(QUESTION, []) == []


def test_the_heads_decide(judge: Judge, network: JudgeNetwork) -> None:
    for name, text in (("yes", "yes"), ("no", "no")):
        network.kind[2].bias.data[:] = -20.0
        network.kind[2].bias.data[KINDS.index(name)] = 20.0
        [reading] = judge.read(QUESTION, [TEXT])
        assert reading.answers[0].text == text and reading.log_odds > 10
    network.kind[2].bias.data[:] = -20.0
    network.kind[2].bias.data[KINDS.index("none")] = 20.0
    assert judge.read(QUESTION, [TEXT])[0].log_odds < -10


def test_any_answer_has_a_probability(judge: Judge) -> None:
    [reading] = judge.read(QUESTION, [TEXT])
    for answer in reading.answers:
        said = reading.log_probability(answer.text)
        # Begin and end may have been seen in a full stop, which is no part of the answer.
        start, end = answer.span or (0, 0)
        trimmed = answer.span is not None and not (
            TEXT[start].isalnum()
            and TEXT[end - 1].isalnum()
            and TEXT[end:][:1].isspace()
            and (start == 0 or (TEXT[start - 1].isspace() and TEXT[start - 2].isalnum()))
        )
        assert said <= answer.log_probability + 1e-4
        assert trimmed or said == pytest.approx(answer.log_probability)
    assert reading.log_probability("ida  brandt.") == reading.log_probability("Ida Brandt")
    assert reading.log_probability("Yes.") == float(reading.kinds[KINDS.index("yes")])
    assert reading.log_probability("Ida Varnholt") == reading.log_probability("...") == -math.inf


def test_an_answer_does_not_end_before_it_begins() -> None:
    text = "alpha beta gamma"
    spans = [(0, 5), (6, 10), (11, 16)]
    starts, ends = np.log([0.05, 0.05, 0.9]), np.log([0.9, 0.05, 0.05])
    kinds = np.log([0.01, 0.97, 0.01, 0.01])
    found = _reading(text, Pair([], 0, 0, spans), kinds, starts, ends).answers
    assert found[0].text in ("gamma", "alpha")
    assert all(a.span is None or a.span[0] < a.span[1] for a in found)


def test_saved_and_loaded(network: JudgeNetwork, encoder: SentenceEncoder, tmp_path: Path) -> None:
    network.save(tmp_path)
    weights = load_file(tmp_path / checkpoint.WEIGHTS)
    assert not [name for name in weights if "embeddings" in name]
    assert {t.dtype for n, t in weights.items() if n.endswith("dense.weight")} == {torch.int8}
    before = Judge(network, encoder).read(QUESTION, [TEXT])[0]
    after = Judge.load(str(tmp_path), encoder).read(QUESTION, [TEXT])[0]
    assert after.log_odds == pytest.approx(before.log_odds, abs=0.1)
    assert after.answers[0].text == before.answers[0].text
    assert "tuned from tiny" in (tmp_path / checkpoint.CARD).read_text()


def test_the_encoder_is_not_changed(network: JudgeNetwork, encoder: SentenceEncoder) -> None:
    vector = encoder.encode([TEXT])
    with torch.no_grad():
        for weight in network.parameters():
            if weight.requires_grad:
                weight.add_(1.0)
    assert torch.equal(encoder.encode([TEXT]), vector)
    shared = encoder.model.embeddings.word_embeddings.weight
    assert network.body.embeddings.word_embeddings.weight is shared and not shared.requires_grad


def test_a_judge_of_another_encoder_is_refused(
    network: JudgeNetwork, encoder: SentenceEncoder, tmp_path: Path
) -> None:
    from dataclasses import replace

    network.config = replace(network.config, encoder_sha256="a" * 64)
    network.save(tmp_path)
    with pytest.raises(CheckpointError, match="another sentence encoder"):
        Judge.load(str(tmp_path), encoder, "b" * 64)
    with pytest.raises(CheckpointError, match="cannot read"):
        Judge.load(str(tmp_path / "none"), encoder)
