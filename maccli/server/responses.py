"""JSON and server-sent events that every client can read, whatever stands in a document."""

from __future__ import annotations

import json
import re
from typing import Any

from starlette.responses import JSONResponse

DONE = b"data: [DONE]\n\n"
KEEP_ALIVE = b": waiting\n\n"
"""A comment of an event stream, which clients skip."""

# Lone surrogates cannot be sent at all, and some readers take the others for ends of lines.
_AWKWARD = re.compile("[\x7f-\x9f\u2028\u2029\ud800-\udfff]")


def dumps(value: object) -> str:
    """Return a value as JSON on one line.

    Raises:
        ValueError: a number in it is not finite.
    """
    text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    return _AWKWARD.sub(_escaped, text)


def event(value: object) -> bytes:
    """Return a value as a server-sent event."""
    return f"data: {dumps(value)}\n\n".encode()


def whole(text: str) -> str:
    """Return text with surrogates joined or replaced, so that it is valid Unicode."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


class Json(JSONResponse):
    """A response in JSON."""

    def render(self, content: Any) -> bytes:
        """Return the body."""
        return dumps(content).encode()


def _escaped(match: re.Match[str]) -> str:
    character = match[0]
    return "\ufffd" if character >= "\ud800" else f"\\u{ord(character):04x}"
