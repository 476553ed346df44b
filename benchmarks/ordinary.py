"""Ordinary files: which questions about them each method answers rightly, by kind.

    mac ingest --recursive docs --store bench-store
    python -m benchmarks.ordinary --store bench-store --questions questions.jsonl [--lora ADAPTER]

The questions are JSON lines with `question`, `answers` and `kind`, and `"answerable": false` where
the files do not say. All methods have the same frozen language model and three passages:

    mac             as `mac ask` does it; what it is not sure of counts as not given
    mac, all given  the same answers, those that it is not sure of, too
    mac --fast      without the judge; all given
    extractive      the judge alone, with words of the passages that it found; all given
    rag             the passages' text in a few-shot prompt; all given
    rag-lora        the text, read by the LM with a LoRA of `mac train-rival rag-lora`; all given

The last two find passages as `mac --fast` does. An answer is right as in `benchmarks.confidence`.
"""

from __future__ import annotations

import argparse
import json
from collections import defaultdict
from collections.abc import Callable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from benchmarks.confidence import is_right
from maccli.service.ask import Options, answer
from maccli.service.evidence import Evidence, retrieve
from maccli.service.session import Session, store_and_model
from models.evaluation.answers import prompt_many
from models.judge.choice import proposed
from models.rivals import adapter
from models.rivals.qa_tune import prompt_tokens

if TYPE_CHECKING:
    from models.stacks import AnyMemory

ASKED, NOT_GIVEN = "questions", "not given"
LIMIT = 32
"""The most tokens of an answer."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--store", type=Path, required=True)
    parser.add_argument("--questions", type=Path, required=True)
    parser.add_argument("--model", default="smollm2-135m")
    parser.add_argument("--lora", type=Path, metavar="ADAPTER")
    parser.add_argument("--out", type=Path, help="keep every answer here, as JSON lines")
    arguments = parser.parse_args()
    rows = [json.loads(line) for line in arguments.questions.read_text("utf-8").splitlines()]
    counts: dict[str, dict[str, int]] = defaultdict(lambda: defaultdict(int))
    with Session(store_and_model(arguments.store, arguments.model)) as session:
        model = cast("AnyMemory", session.model)
        rule = dict(model.config.judge_confidence or {})
        # Every answer is given here; which of them `mac ask` would give is asked afterwards.
        model.config = replace(model.config, judge_confidence={**rule, "above": 0.0})
        methods = _methods(model, arguments.lora)
        kept = []
        for row in rows:
            answers = _answers(session, row["question"], methods, float(rule["above"]))
            kept.append({**row, "predicted": answers})
            expected = row["answers"] if row.get("answerable", True) else []
            for kind in (row["kind"], "all" if expected else "not said"):
                _count(counts[kind], answers, expected)
    if arguments.out:
        arguments.out.write_text("".join(json.dumps(row) + "\n" for row in kept), "utf-8")
    print_table(counts, ["mac", "mac, all given", *methods])


Method = Callable[[Evidence, Evidence], str]
"""Answers from the passages that the judge has read, or from those that were found without it."""


def _methods(model: AnyMemory, lora: Path | None) -> dict[str, Method]:
    def extractive(judged: Evidence, _: Evidence) -> str:
        weights = [match.candidate.log_weight for match in judged.matches]
        return next(iter(proposed(judged.readings, weights)), "")

    def fast(_: Evidence, found: Evidence) -> str:
        return "".join(model.answer(found.question, found.modulations(), max_new_tokens=LIMIT))

    def rag(_: Evidence, found: Evidence) -> str:
        texts = [match.row.text for match in found.matches]
        return "".join(model.answer_rag(found.question, texts, max_new_tokens=LIMIT))

    methods: dict[str, Method] = {"mac --fast": fast, "extractive": extractive, "rag": rag}
    if lora is not None:
        reader = adapter.merged(model.lm, adapter.load(lora, model.lm))

        def rag_lora(_: Evidence, found: Evidence) -> str:
            texts = [match.row.text for match in found.matches]
            return prompt_many(reader, [prompt_tokens(reader, found.question, texts)], None)[0]

        methods["rag-lora"] = rag_lora
    return methods


def _answers(
    session: Session, question: str, methods: Mapping[str, Method], above: float
) -> dict[str, dict[str, Any]]:
    """Return each method's answer to a question, and whether it is given."""
    judged = retrieve(session, question)
    found = retrieve(session, question, fast=True)
    likeliest = answer(session, judged, Options())
    sure = likeliest.outcome == "answer" and (likeliest.probability or 0.0) >= above
    answers: dict[str, dict[str, Any]] = {
        "mac": {"answer": likeliest.answer, "given": sure},
        "mac, all given": {"answer": likeliest.answer, "given": True},
    }
    for name, method in methods.items():
        text = method(judged, found).strip() if judged.matches else ""
        answers[name] = {"answer": text.split("\n")[0], "given": True}
    return answers


def _count(
    counts: dict[str, int], answers: Mapping[str, Mapping[str, Any]], expected: list[str]
) -> None:
    counts[ASKED] += 1
    for name, each in answers.items():
        if not each["given"]:
            counts[f"{name} {NOT_GIVEN}"] += 1
        elif is_right(each["answer"], expected):
            counts[name] += 1


def print_table(counts: Mapping[str, Mapping[str, int]], methods: list[str]) -> None:
    """Print a Markdown table: a row a kind, and what share of it each method answers rightly."""
    print(f"| kind | questions | {' | '.join(methods)} | mac: wrong | mac: not given |")
    print(f"|---|{'---|' * (len(methods) + 3)}")
    kinds = sorted(set(counts) - {"all", "not said"}, key=lambda kind: -_share(counts[kind], "mac"))
    for kind in [*kinds, *({"all", "not said"} & set(counts))]:
        row = counts[kind]
        shares = [_share(row, name) for name in methods]
        missing = _share(row, f"mac {NOT_GIVEN}")
        shares += [max(100 - _share(row, "mac") - missing, 0), missing]
        print(f"| {kind} | {row[ASKED]} | {' | '.join(f'{share:.0f}' for share in shares)} |")


def _share(row: Mapping[str, int], name: str) -> float:
    return 100 * row.get(name, 0) / row[ASKED]


if __name__ == "__main__":
    main()
