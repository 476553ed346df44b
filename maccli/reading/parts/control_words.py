"""The control words of Rich Text Format: how they are told from text, and what they stand for."""

from __future__ import annotations

import codecs
import re

TOKEN = re.compile(
    rb"\\([a-zA-Z]{1,32})(-?\d{1,9})? ?|\\'([0-9a-fA-F]{2})|\\([^a-zA-Z])|([{}])|([^\\{}\r\n]+)"
    rb"|[\r\n]+|\\",
    re.DOTALL,
)
CHARSETS = {
    **{2: "symbol", 77: "mac_roman", 128: "cp932", 129: "cp949", 130: "johab", 134: "cp936"},
    **{136: "cp950", 161: "cp1253", 162: "cp1254", 163: "cp1258", 177: "cp1255", 178: "cp1256"},
    **{186: "cp1257", 204: "cp1251", 222: "cp874", 238: "cp1250", 254: "cp437", 255: "cp850"},
}
MACHINES = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
CHARACTERS = {
    **{"tab": "\t", "line": "\n", "lbr": "\n", "emdash": "—", "endash": "\u2013", "bullet": "•"},
    **{"lquote": "\u2018", "rquote": "\u2019", "ldblquote": "“", "rdblquote": "”"},
    **{"emspace": " ", "enspace": " ", "qmspace": " "},
    **{"~": " ", "_": "-", "{": "{", "}": "}", "\\": "\\"},
}
# Marked as "skip this if you do not know it", and known.
KNOWN = frozenset({"shpinst", "shpgrp", "do", "moMath", "moMathPara", "mmath", "ud"})
SKIPPED = frozenset(
    re.findall(
        r"\w+",
        "colortbl filetbl pict nonshppict shprslt fldinst sp nonesttables mmathPict xe tc rxe txe "
        "revtbl listtable listoverridetable generator template author operator subject keywords "
        "comment doccomm category manager company hlinkbase creatim revtim printim buptim "
        "ftnsep ftnsepc ftncn aftnsep aftnsepc aftncn objdata",
    )
)


def code_page(number: int) -> str:
    """Return the encoding of a code page of Windows; that of western Europe if it is unknown."""
    try:
        return codecs.lookup("utf-8" if number == 65001 else f"cp{number}").name
    except LookupError:
        return "cp1252"
