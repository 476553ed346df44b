"""What `mac ingest` says about each file, and at the end about all."""

from __future__ import annotations

from typing import TYPE_CHECKING

from maccli import errors
from maccli.output import Output, count, size
from maccli.reading.files import displayed

if TYPE_CHECKING:
    from maccli.service.report import Outcome, Report

_VERBS = {"added": "add", "updated": "update", "renamed": "rename", "removed": "remove"}


class Teller:
    """Reports the result for each file, and at the end for all."""

    def __init__(self, out: Output, *, verbose: bool = False, dry_run: bool = False) -> None:
        self.out = out
        self.verbose = verbose
        self.dry_run = dry_run
        self._reported: set[tuple[str, str | None]] = set()

    def tell(self, outcome: Outcome) -> None:
        """Report the result for one file; the same trouble with it is reported once."""
        out = self.out
        name = displayed(outcome.source)
        trouble = outcome.reason if outcome.status in ("failed", "skipped") else outcome.remark
        told = (outcome.source, trouble) in self._reported
        self._reported.add((outcome.source, trouble))
        if told and outcome.status in ("failed", "skipped"):
            return
        if outcome.status == "failed":
            more = " (run with -v for the traceback)" if outcome.trace and not self.verbose else ""
            out.problem(f"{name}: {outcome.reason}{more}")
            if self.verbose:
                for line in (outcome.trace or "").splitlines():
                    out.note(line)
            return
        if outcome.remark and not told:
            out.warn(f"{name} {outcome.remark}")
        was = f" (was {displayed(outcome.was)})" if outcome.was else ""
        why = f": {outcome.reason}" if outcome.reason else ""
        if outcome.status == "skipped":
            out.note(f"Skipped {name}{why}")
        elif self.dry_run:
            if outcome.status in _VERBS and out.human and not out.quiet:
                out.text(f"Would {_VERBS[outcome.status]} {name}{was}{why}")
        elif self.verbose:
            out.note(f"{_verb(outcome)} {name}{was}{why}{_numbers(outcome)}")

    def finish(self, report: Report) -> int:
        """Report what was done in all; return the exit code."""
        out = self.out
        if not out.human:
            out.record(report.as_dict())
        elif not out.quiet:
            out.text(_summary(report))
        if report.interrupted:
            out.warn(f"interrupted; {report.interruption()}.")
            return errors.INTERRUPTED
        return errors.FAILED if report.number("failed") or report.held_back else errors.DONE


def _verb(outcome: Outcome) -> str:
    if outcome.status != "partial":
        return outcome.status.capitalize()
    return f"Amortized {outcome.percent} % of"


def _numbers(outcome: Outcome) -> str:
    numbers = [count(outcome.chunks, "chunk")] if outcome.chunks else []
    numbers += [f"{outcome.reused:,} reused"] if outcome.reused else []
    return f" ({', '.join(numbers)})" if numbers else ""


def _summary(report: Report) -> str:
    from maccli.service.report import STATUSES

    numbers = [
        f"{report.number(status):,} {status}" for status in STATUSES if report.number(status)
    ]
    written = []
    if report.chunks:
        written += [count(report.chunks, "chunk"), count(report.tokens, "token")]
        written.append(f"{size(report.bytes)} of memory")
    if report.reused:
        written.append(f"{count(report.reused, 'chunk')} reused")
    return (
        f"{'Dry run. ' if report.dry_run else ''}{count(len(report.outcomes), 'document')}"
        f"{': ' if numbers else ''}{', '.join(numbers)}."
        f"{' ' if written else ''}{', '.join(written)}"
        f"{' in' if written else ' Took'} {report.seconds:.1f} s."
    )
