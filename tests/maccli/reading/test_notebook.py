from __future__ import annotations

import json
from typing import Any

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Refused
from maccli.reading.formats import notebook
from store.marks import in_words, mark_at

PYTHON = {"language_info": {"name": "python"}}


def markdown(source: str) -> dict[str, Any]:
    return {"cell_type": "markdown", "metadata": {}, "source": source.splitlines(keepends=True)}


def code(source: str, *outputs: dict[str, Any]) -> dict[str, Any]:
    return {"cell_type": "code", "source": source, "outputs": list(outputs), "execution_count": 1}


def shown(**data: str) -> dict[str, Any]:
    """Make an output, the types of its data written with "_" for "/"."""
    forms = {kind.replace("_", "/", 1): value for kind, value in data.items()}
    return {"output_type": "display_data", "data": forms, "metadata": {}}


def read(*cells: dict[str, Any], metadata: dict[str, Any] | None = None) -> Draft:
    whole = {"nbformat": 4, "metadata": PYTHON if metadata is None else metadata, "cells": cells}
    return notebook.read(json.dumps(whole), "a.ipynb")


def places(draft: Draft, *words: str) -> list[str]:
    return [in_words(mark_at(draft.marks, draft.text, draft.text.index(word))) for word in words]


def test_cells_are_text_and_code_with_their_places() -> None:
    draft = read(
        markdown("# Fares\n\nOf the *ferry*.\n\n## Adults\n- one"),
        code("price = 14\nprint(price)", {"output_type": "stream", "text": ["14\n", "15\n"]}),
        markdown("Later.\n\nNext\n----\n\n| Who | Fare |\n|---|---|\n| Bo | 14 |"),
    )
    assert draft.text == (
        "# Fares\n\nOf the *ferry*.\n\n## Adults\n\n- one\n\n"
        "```python\nprice = 14\nprint(price)\n```\n\nOutput:\n\n```\n14\n15\n```\n\n"
        "Later.\n\n## Next\n\nWho: Bo; Fare: 14"
    )
    assert places(draft, "Of the", "one", "price", "15", "Later", "Bo") == [
        '"Fares", cell 1',
        '"Fares > Adults", cell 1',
        '"Fares > Adults", cell 2',
        '"Fares > Adults", cell 2',
        '"Fares > Adults", cell 3',
        '"Fares > Next", cell 3',
    ]
    assert draft.title == "Fares"
    assert not {"{", "cell_type", "\\n"} & set(draft.text.split())


@pytest.mark.parametrize(
    ("output", "expected"),
    [
        (shown(text_plain="[1, 2]"), "Output:\n\n```\n[1, 2]\n```"),
        (
            shown(
                text_plain="   Who  Fare\n0   Bo    14",
                text_html="<table><thead><tr><th></th><th>Who</th><th>Fare</th></thead>"
                "<tr><th>0</th><td>Bo</td><td>14</td></table>",
            ),
            "Output:\n\n0; Who: Bo; Fare: 14",
        ),
        (shown(text_html="<p>Fine.</p>"), "Output:\n\nFine."),
        (shown(text_plain="x", text_markdown="**Fine.**"), "Output:\n\n**Fine.**"),
        (
            {"output_type": "error", "ename": "KeyError", "evalue": "'Bo'", "traceback": ["\x1b["]},
            "Output:\n\n```\nKeyError: 'Bo'\n```",
        ),
        ({"output_type": "stream", "text": "\x1b[31mred\x1b[0m\n 10%\r 99%\r\nend"},
         "Output:\n\n```\nred\n 99%\nend\n```"),
        (shown(image_png="iVBORw0KGgo=" * 100, text_plain="<Figure size 640x480>"), ""),
        (shown(), ""),
    ],
)  # fmt: skip
def test_outputs(output: dict[str, Any], expected: str) -> None:
    draft = read(code("x", output))
    assert draft.text == "\n\n".join(filter(None, ("```python\nx\n```", expected)))


def test_pictures_are_left_out_and_said() -> None:
    cell = markdown("See ![a](attachment:a.png)") | {
        "attachments": {"a.png": {"image/png": "iVBO"}}
    }
    draft = read(cell, code("x", shown(image_png="iVBORw0KGgo=", text_plain="A figure")))
    assert "iVBO" not in draft.text
    assert "A figure" in draft.text
    assert draft.remarks == ["has 1 picture in it, left out"]


def test_languages() -> None:
    assert "```julia\n" in read(code("x"), metadata={"kernelspec": {"language": "julia"}}).text
    assert "```bash\n" in read(code("%%bash\nls")).text
    assert "```\nx" in read(code("x"), metadata={}).text


def test_a_cell_of_html_is_a_page() -> None:
    draft = read(markdown("<style>x {}</style>\n<h2>Fares</h2><p>14 <b>crowns</b></p>"))
    assert draft.text == "## Fares\n\n14 crowns"
    assert read(markdown("Fine.\n<style>\nbody {}")).text == "Fine."


def test_titles() -> None:
    assert read(markdown("## x"), metadata={"title": "The fares"}).title == "The fares"
    assert read(markdown("x")).title is None


def test_old_notebooks() -> None:
    cells = [
        {"cell_type": "heading", "level": 2, "source": ["Fares"]},
        {
            "cell_type": "code",
            "language": "python",
            "input": ["price"],
            "outputs": [
                {"output_type": "pyout", "text": ["14"], "prompt_number": 1},
                {"output_type": "pyerr", "ename": "E", "evalue": "v"},
                {"output_type": "display_data", "png": "iVBO"},
            ],
        },
    ]
    draft = notebook.read(json.dumps({"nbformat": 3, "worksheets": [{"cells": cells}]}), "a.ipynb")
    assert draft.text.startswith("## Fares\n\n```python\nprice\n```\n\nOutput:\n\n```\n14\n```")
    assert draft.text.endswith("E: v\n```")
    assert places(draft, "price") == ['"Fares", cell 2']


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ('{"cells": [', "is a damaged notebook: .*line 1"),
        ("[1]", "is no notebook"),
        ('{"a": 1}', "is no notebook"),
        ("[" * 100_000, "is no notebook"),
    ],
)
def test_what_is_no_notebook_is_refused(text: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        notebook.read(text, "a.ipynb")


def test_odd_cells_do_no_harm() -> None:
    odd: list[Any] = [None, 3, {}, {"cell_type": "code", "source": {"a": 1}, "outputs": [None, 4]}]
    text = json.dumps({"cells": [*odd, markdown("Fine.")], "metadata": 3})
    assert notebook.read(text, "a.ipynb").text == "Fine."
