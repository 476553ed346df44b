"""How small a store becomes: a share of its modulations, a number of them, or their bytes."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Self

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_BINARY_UNITS = {"ki": 2**10, "mi": 2**20, "gi": 2**30, "ti": 2**40}
_SIZE = re.compile(r"(\d+(?:\.\d+)?)\s*([kmgt]i?)?b", re.IGNORECASE)
_THOUSANDS = re.compile(r"(?<=\d),(?=\d{3}(?!\d))")
_SHARE = re.compile(r"(\d+(?:\.\d+)?)\s*%")


class TargetError(ValueError):
    """A target that means nothing; the message is one line with what was given."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a prune leaves. Exactly one of the three is given.

    Attributes:
        share: share of the modulations, above 0 and at most 1.
        number: number of modulations, at least 1.
        size: size of all modulations in bytes, at least 1.
    """

    share: float | None = None
    number: int | None = None
    size: int | None = None

    def __post_init__(self) -> None:
        given = [value for value in (self.share, self.number, self.size) if value is not None]
        if len(given) != 1:
            raise TargetError(f"a target is one of share, number and size, not {len(given)}")
        if self.share is not None and not 0 < self.share <= 1:
            raise TargetError(f"a share must be above 0% and at most 100%, not {self}")
        if self.share is None and given[0] < 1:
            unit = "byte" if self.number is None else "modulation"
            raise TargetError(f"at least one {unit} must be left, not {self}")

    @classmethod
    def parse(cls, text: str) -> Self:
        """Read 50%, 2000 (modulations), 20MB, 800 kB or 1.5GiB.

        Raises:
            TargetError: it is none of these, or out of range.
        """
        text = _THOUSANDS.sub("", text.strip())
        if match := _SHARE.fullmatch(text):
            return cls(share=float(match[1]) / 100)
        if text.isascii() and text.isdecimal() and len(text) < 19:
            return cls(number=int(text))
        if match := _SIZE.fullmatch(text):
            unit = (match[2] or "").lower()
            return cls(size=int(float(match[1]) * (_UNITS | _BINARY_UNITS)[unit]))
        raise TargetError(f"{text!r} is not a share, number or size, such as 50%, 2000 or 20MB")

    def modulations(self, total: int) -> int | None:
        """Return how many of `total` modulations are left; None where a size decides."""
        if self.share is not None:
            return min(total, max(1, round(total * self.share)))
        return None if self.number is None else min(total, self.number)

    def __str__(self) -> str:
        if self.share is not None:
            return f"{100 * self.share:g}%"
        return str(self.number) if self.number is not None else f"{self.size} B"
