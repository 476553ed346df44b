"""What the tags of a page mean for its text."""

from __future__ import annotations

import re
from collections.abc import Mapping
from urllib.parse import unquote


def _names(words: str) -> frozenset[str]:
    return frozenset(words.split())


VOID = _names(
    "area base basefont bgsound br col embed frame hr img input keygen link meta param source"
    " track wbr"
)
"""Elements that have no end."""

HEADINGS = {f"h{level}": level for level in range(1, 7)}
BLOCKS = HEADINGS.keys() | _names(
    "address article aside blockquote body caption center dd details dialog dir div dl dt fieldset"
    " figcaption figure footer form header hgroup hr legend li listing main menu nav ol p pre"
    " search section summary table tbody td tfoot th thead tr ul"
)
"""Elements that stand on lines of their own."""

LISTS = _names("dir dl menu ol ul")
CODE = _names("listing pre")
APART = _names("button label mi mn mo mtext object select svg text textarea")
"""Elements within a line whose text does not touch what stands beside them."""

AROUND = {"q": ('"', '"'), "rt": ("(", ")"), "del": ("~~",) * 2, "s": ("~~",) * 2}
"""What stands before and behind the text of an element."""

BETWEEN = {"mfrac": "/", "msup": "^"}
"""What stands between the two parts of a formula."""

_MENUS = _names("nav search")
_MENU_ROLES = _names("banner contentinfo navigation search")
_BUTTONS = _names("button reset submit")
_NO_VALUE = _names("color file hidden password range")
_UNSEEN = _names("annotation annotation-xml defs metadata rp symbol title")
_UNSEEN_STYLE = re.compile(r"(?:^|[;\s])(?:display\s*:\s*none|visibility\s*:\s*hidden)", re.I)
_LANGUAGE = re.compile(
    r"(?:^|\s)(?:language-|lang-|highlight-source-|brush:\s*|sourceCode\s+)([\w+#-]+)"
)


def is_unseen(tag: str, attributes: Mapping[str, str], *, in_picture: bool) -> bool:
    """Return whether nobody sees an element, nor what is in it."""
    if tag in _UNSEEN:
        return tag != "title" or not in_picture
    if not attributes:
        return tag in ("dialog", "template")
    is_hidden = attributes.get("hidden", "until-found") != "until-found"
    if is_hidden or _UNSEEN_STYLE.search(attributes.get("style", "")):
        return True
    if tag == "template":
        return "shadowrootmode" not in attributes
    if tag == "dialog":
        return "open" not in attributes
    # Or it is the same formula again, for the eye.
    return "katex-html" in attributes.get("class", "")


def is_menu(tag: str, attributes: Mapping[str, str], around: list[str]) -> bool:
    """Return whether an element stands around the text on every page of a site.

    Args:
        tag: of the element.
        attributes: of it.
        around: the elements that it stands in, itself the last.
    """
    if tag in _MENUS or (attributes and attributes.get("role") in _MENU_ROLES):
        return True
    return tag == "footer" and around == ["html", "body", "footer"]


def sign(kind: str, number: int) -> str:
    """Return what stands before an item of a list.

    Args:
        kind: the list's tag, or the type of an ordered one.
        number: of the item.
    """
    if kind in LISTS:
        return "-"
    if kind in ("a", "A") and 0 < number <= 26:
        return f"{chr(ord(kind) + number - 1)}."
    return f"{number}."


def number(value: str | None, default: int = 1) -> int:
    """Return the number that an attribute holds."""
    digits = re.match(r"\s*(\d{1,9})", value) if value else None
    return int(digits[1]) if digits else default


def entry(attributes: Mapping[str, str], label: str) -> tuple[str, str]:
    """Return what stands in a field of a form.

    Args:
        attributes: of the field.
        label: what stands before it.

    Returns:
        what belongs between the label and the entry, and the entry.
    """
    kind = attributes.get("type", "text").lower()
    if kind in ("checkbox", "radio"):
        return " ", "[x] " if "checked" in attributes else "[ ] "
    value = attributes.get("alt" if kind == "image" else "value", "")
    if kind in _NO_VALUE or not value.strip():
        return " ", "" if kind in _NO_VALUE else attributes.get("placeholder", "") + " "
    return ": " if label[-1:].isalnum() and kind not in _BUTTONS else " ", f"{value} "


def language(attributes: Mapping[str, str]) -> str:
    """Return the language of code, as its class says it; "" if it does not."""
    found = _LANGUAGE.search(attributes.get("class", ""))
    return found[1] if found and found[1] not in ("none", "plaintext", "text") else ""


def address(link: str) -> str:
    """Return the mail address that a link leads to; "" if it is another link."""
    scheme, _, rest = link.partition(":")
    found = unquote(rest.partition("?")[0]).strip() if scheme.lower() == "mailto" else ""
    return found if re.fullmatch(r"[^\s@{}<>]+@[^\s@{}<>]+", found) and len(found) < 100 else ""
