"""The command line `mac`, and its Python API: files in, answers out.

    from maccli import Mac

    with Mac() as mac:
        mac.ingest("notes")
        print(mac.ask("Who won the sailing race?").answer)

It joins the packages `store` and `models`; importing it loads neither.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from maccli.api import Mac

__all__ = ["Mac"]


def __getattr__(name: str) -> Any:
    if name == "Mac":
        import maccli.api

        return maccli.api.Mac
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
