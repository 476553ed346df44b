"""What a question asks for, by its words: more than words of one passage, or after another one.

A small model answers with a few words of a text. Asked for a summary, a comparison or a list it
would invent, so it should say that it cannot.
"""

from __future__ import annotations

import re
from typing import Literal

Request = Literal["summary", "comparison", "list"]
_POLITE = r"^(?:(?:please|can you|could you|would you|hi|hello)[\s,]+)*"
_SUMMARY = re.compile(
    _POLITE + r"(?:(?:give|write|make|show)(?: me)? an? (?:\w+ )?(?:summary|overview|outline)\b|"
    r"(?:a )?(?:summary|overview|outline) of\b|summari[sz]e\b|sum up\b|outline\b|tl;?dr\b|"
    r"fasse?\b.*\bzusammen\b|résume[rz]?\b|resum(?:e|a|ir) (?:el|la|los|las)\b)",
    re.IGNORECASE,
)
_COMPARISON = re.compile(_POLITE + r"(?:compare|contrast|vergleiche?|comparez?)\b", re.IGNORECASE)
_NUMBER = "two|three|four|five|six|seven|eight|nine|ten|[2-9]|1[0-9]"
_LIST = re.compile(
    _POLITE + rf"(?:list|enumerate|(?:name|give(?: me)?) (?:all|every|(?:the )?(?:{_NUMBER})))\b|"
    rf"\b(?:which|what) (?:are |were )?(?:the )?(?:{_NUMBER})\b(?! o'clock| percent| per cent)",
    re.IGNORECASE,
)
_FOLLOW_UP = re.compile(
    # how it begins: "And when?", "What about Sunday?"
    r"^[¿\s]*(?:(?:ok|okay|yes|no)[,.]? )?"
    r"(?:and|or|but|so|then|also|(?:what|how) about|und|oder|aber|et|ou|mais|y|e|pero|o)\b|"
    # how little it says: "On which day?"
    r"^[¿\s]*(?:(?:at|on|in|by|for|from|to|with|since|until)\s+)?"
    r"(?:what|which|who|whom|when|where|why|how(?:\s+(?:many|much|long|often|far|old))?)"
    r"(?:\s+\w+)?\W*$|"
    # what it adds, or puts in the place of what was asked
    r"\b(?:instead|as well|too|else|there|th(?:is|at|ese|ose)|stattdessen|auch|aussi|también)\W*$",
    re.IGNORECASE,
)
_PRONOUN = re.compile(
    r"\b(?:it(?! (?:possible|true|ok|okay|fine|allowed|necessary|safe|legal|worth)\b)|its|he|him|"
    r"his|she|her|hers|they|them|their|theirs|the (?:same|other|others|latter)|(?:this|these) \w+|"
    r"(?:which|what|any|each|this|that|the other) ones?|er|ihn|ihm|ihre[mnrs]?|seine?[mnrs]?|"
    r"elle|ils|elles|lui|leur|ella|ellos|ellas)\b",
    re.IGNORECASE,
)
_BEFORE_PRONOUN = 5
"""Words; a pronoun after more of them stands for something that the question itself names."""
_SEVERAL = re.compile(r"[,;\n]|\s(?:and|or|und|oder|et|ou|y|o|&)\s")


def requested(question: str) -> Request | None:
    """Return what a question asks for, if it is more than words of one passage."""
    line = " ".join(question.split())
    if _SUMMARY.search(line):
        return "summary"
    if _COMPARISON.search(line):
        return "comparison"
    return "list" if _LIST.search(line) else None


def is_several(answer: str) -> bool:
    """Return whether an answer can be a list: it names more than one thing."""
    return bool(_SEVERAL.search(answer))


def is_follow_up(question: str) -> bool:
    """Return whether a question reads like a follow-up to one before: "And how much was it?"."""
    if _FOLLOW_UP.search(question):
        return True
    if (pronoun := _PRONOUN.search(question)) is None:
        return False
    before = question[: pronoun.start()].split()
    named = any(word[:1].isupper() and word != "I" for word in before[1:])
    return len(before) <= _BEFORE_PRONOUN and not named
