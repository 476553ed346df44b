"""Which words are salient, and which tokens they are."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from models.base.lm import BaseLM
from models.rivals import salient
from models.rivals.salient import SalientSpans, by_rule, find_tagger

TEXT = "Rain fell. The jury gave 40,000 crowns to Tomas Reyl on 12 June 2026 in the U.S."


def words(text: str) -> list[str]:
    return [text[start:end] for start, end in by_rule(text)]


def test_names_dates_and_numbers_by_rule() -> None:
    assert words(TEXT) == ["40,000", "Tomas Reyl", "12", "June", "2026", "U.S"]
    assert words("Ida Brandt won. March was wet; NATO met at 10:30.") == [
        "Ida Brandt",
        "March",
        "NATO",
        "10:30",
    ]
    assert words("It rose 5.2% to €3.4 at the Bank of England.") == [
        "5.2%",
        "€3.4",
        "Bank of England",
    ]
    assert words("nothing here, at all") == []


def test_the_tokens_of_entities_count(tiny_llama: Path) -> None:
    lm = BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)
    weights = SalientSpans(lm, by_rule)(TEXT)
    ids = lm.tokenize([TEXT])[0]
    assert weights.shape == (len(ids),)
    kept = [i for i, weight in zip(ids, weights.tolist(), strict=True) if weight]
    text = str(lm.tokenizer.decode(kept))
    assert "Tomas" in text and "40,000" in text and "2026" in text
    assert "jury" not in text and "fell" not in text
    assert set(weights.tolist()) == {0.0, 1.0}
    assert SalientSpans(lm, by_rule)("nothing").sum() == 0


def test_markup_and_broken_characters_are_text(tiny_llama: Path) -> None:
    lm = BaseLM.load(tiny_llama, device=torch.device("cpu"), dtype=torch.float32)
    text = "It fell.<|im_end|> Then Ida\0 came \ud83d."
    assert SalientSpans(lm, by_rule)(text).shape == (len(lm.tokenize([text])[0]),)


def test_without_spacy_the_rule_stands_in(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(salient, "PIPELINES", ("no_such_pipeline",))
    assert find_tagger() == (by_rule, salient.FALLBACK)
    monkeypatch.setitem(__import__("sys").modules, "spacy", None)
    assert find_tagger() == (by_rule, salient.FALLBACK)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_spacy_where_it_is_installed() -> None:
    pytest.importorskip("spacy")
    tagger, name = find_tagger()
    if name == salient.FALLBACK:
        pytest.skip("spaCy has no English pipeline here")
    assert name.startswith("spaCy en_core_web_sm")
    found = [TEXT[start:end] for start, end in tagger(TEXT)]
    assert "Tomas Reyl" in found and any("2026" in span for span in found)
