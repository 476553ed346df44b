"""What the evaluations of several checkpoints in one run of `mac eval` share."""

from __future__ import annotations

from collections.abc import Callable
from functools import cached_property
from typing import TYPE_CHECKING

from maccli.errors import USAGE, MacError
from maccli.evaluation.methods import METHODS
from maccli.evaluation.retrievers import External
from maccli.evaluation.stream import Stream, read_stream

if TYPE_CHECKING:
    from maccli.evaluation.plan import Plan
    from maccli.service.session import Transfer
    from models.data.files import Example

_REASONS = {
    "impossible": "without an answer",
    "no article": "their article is not among the documents",
}


class Common:
    """The stream, and the retrievers of others; each is read when it is first needed.

    Args:
        plan: what is measured.
        note: told what the user should know of the data.
        device: "auto", "cpu", "cuda" or "mps", of the retrievers.
        transfer: told about downloads of theirs.
    """

    def __init__(
        self,
        plan: Plan,
        note: Callable[[str], None],
        *,
        device: str = "auto",
        transfer: Transfer | None = None,
    ) -> None:
        self.plan, self.note = plan, note
        self._device, self._transfer = device, transfer

    @cached_property
    def stream(self) -> Stream:
        """The documents and questions.

        Raises:
            DataError: the data cannot be used.
        """
        plan = self.plan
        stream = read_stream(plan.data, plan.split, distractors=plan.distractors)
        if stream.dependent:
            self.note(
                f"Left out: {stream.dependent:,} questions that make sense only beside their "
                "document."
            )
        for reason, number in stream.skipped.items():
            self.note(f"Left out: {number:,} questions ({_REASONS.get(reason, reason)}).")
        if stream.unsupported:
            first = next(e for e in stream.examples if e.id == stream.unsupported[0])
            place = f" ({first.where})" if first.where else ""
            self.note(
                f"{len(stream.unsupported):,} of {len(stream.examples):,} questions have no answer "
                "that stands in their document word for word; the first is "
                f"{stream.unsupported[0]!r}{place}."
            )
        return stream

    @cached_property
    def questions(self) -> list[Example]:
        """Those that are asked."""
        return self.stream.draw(self.plan.limit, self.plan.seed)

    @cached_property
    def retrievers(self) -> list[External]:
        """The other encoders that chunks are found by.

        Raises:
            MacError: two of them, or one and a method, would have the same name.
        """
        made = [
            External(given, device=self._device, transfer=self._transfer)
            for given in self.plan.retrievers
        ]
        names = [name for name in METHODS if name.startswith("rag-")]
        for external in made:
            if f"rag-{external.name}" in names:
                raise MacError(
                    f"rag-{external.name} would be the name of two methods.",
                    "Give the folder of the retriever another name.",
                    USAGE,
                )
            names.append(f"rag-{external.name}")
        return made
