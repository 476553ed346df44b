"""Which encoding a text without a mark is in, by how its bytes and letters are spread."""

from __future__ import annotations

import codecs
import unicodedata
from collections import Counter
from collections.abc import Iterator

SAMPLE = 256 * 1024
"""How many bytes of a file are looked at."""

_HIGH = bytes(range(0x80, 0x100))
_ASCII_LETTERS = bytes([*range(0x41, 0x5B), *range(0x61, 0x7B)])
_SIGNS = "\xa0“”„‘’‚–—…€•«»°§©®™"  # noqa: RUF001
_WESTERN_SIGNS = _SIGNS + "¿¡·£½¼¾±²³µ×÷ªº¢¥†"  # noqa: RUF001
# The letters beyond ASCII of languages in Latin letters, by the encodings that they are found in.
_ALPHABETS = (
    (
        ("cp1252",),
        _WESTERN_SIGNS,
        # French, Portuguese, Italian, Catalan, Icelandic, German, Spanish, Danish and Norwegian,
        # Swedish and Finnish, Dutch, Irish, Estonian
        "àâæçéèêëîïôœùûüÿ áâãàçéêíóôõúü àèéìíîòóù àçèéíïòóúü áéíóúýþæðö äöüßé áéíñóúü "
        "æøåéòóä åäöé éëïóüèêáö áéíóú äöõüšž",
    ),
    (
        ("cp1250", "iso8859-2"),
        _SIGNS,
        # Polish, Czech, Slovak, Hungarian, Croatian and Slovene, Romanian
        "ąćęłńóśźż áčďéěíňóřšťúůýžöü áäčďéíľňóôšťúýž áéíóöőúüű čćđšž ăâîşţ",
    ),
    (("cp1254",), _SIGNS, "çğıİöşüâîû"),  # Turkish
    (("cp1257", "iso8859-13"), _SIGNS, "ąčęėįšųūž āčēģīķļņšūž"),  # Lithuanian, Latvian
)
# A codec that a detector may name, and the one that reads it and more.
_MORE = {
    "big5": "big5hkscs",
    "euc_kr": "cp949",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "iso8859-1": "cp1252",
    "iso8859-9": "cp1254",
    "mac-cyrillic": "cp1251",
    "shift_jis": "cp932",
    "utf-8": "ascii",
}
_WESTERN_WORDS = (
    "de la le les el en que un una une des du et est il di per che non een het van ja ei on os com"
)
_EASTERN_WORDS = "na nie do je se v w z za az nem bir ve ir ar su i u s o k"
_COMMON_CHINESE = frozenset("，。、的一是不了在人有")  # noqa: RUF001


def likely(data: bytes) -> Iterator[str]:
    """Yield the codecs that a text may be in, the likeliest first."""
    from resiliparse.parse.encoding import detect_encoding

    sample = data[:SAMPLE]
    detected = _codec(detect_encoding(sample, html5_compatible=False) or "ascii")
    yield from _latin(sample, detected)
    if detected == "koi8-r" and any(byte in sample for byte in b"\xa4\xa6\xa7\xad"):
        yield "koi8-u"  # Ukrainian letters, where the Russian one has lines for drawing
    if detected == "ascii":  # it does not know
        import charset_normalizer

        best = charset_normalizer.from_bytes(sample).best()
        detected = _codec(best.encoding) if best else "ascii"
    if detected != "ascii" and not detected.startswith("utf"):
        yield detected


def _codec(name: str) -> str:
    """Return the codec that reads an encoding and what is often taken for it; "ascii" if none."""
    try:
        name = codecs.lookup(name).name
        ascii_inside = b"a b\n".decode(name) == "a b\n"
    except (LookupError, UnicodeDecodeError):
        return "ascii"
    return _MORE.get(name, name) if ascii_inside else "ascii"  # no file comes from a mainframe


def _latin(sample: bytes, detected: str) -> list[str]:
    """Return the codecs in which nearly all letters are those of one language in Latin letters.

    A detector that goes by statistics takes a short French note for Slovak.
    """
    high = len(sample) - len(sample.translate(None, _HIGH))
    low = len(sample) - len(sample.translate(None, _ASCII_LETTERS))
    if high > 0.35 * (high + low) and high + low > 16:
        return []  # the letters of such languages are ASCII for the most part
    shares: dict[str, float] = {}
    for names, signs, alphabets in _ALPHABETS:
        for name in names:
            letters = Counter(sample.decode(name, "browser"))
            beyond = {letter: n for letter, n in letters.items() if letter > "\x7f"}
            shares[name] = max(
                sum(n for letter, n in beyond.items() if letter in known) / sum(beyond.values())
                for alphabet in alphabets.split()
                for known in (set(alphabet + alphabet.upper() + signs),)
            )
    best = max(shares.values())
    good = [name for name, share in shares.items() if share >= max(0.95, best - 0.02)]
    if detected not in good or "cp1252" not in good:
        return [detected] if detected in good else good[:1]
    # Few letters can be Italian and Lithuanian, say; then the small words tell, Western first.
    words = Counter(sample.decode("cp1252", "browser").lower().split())
    western = sum(words[word] for word in _WESTERN_WORDS.split())
    eastern = sum(words[word] for word in _EASTERN_WORDS.split())
    same = sample.decode(detected, "browser") == sample.decode("cp1252", "browser")
    baltic = detected in {"cp1257", "iso8859-13"}
    return ["cp1252" if same or baltic or western > eastern else detected]


def utf16(data: bytes) -> str | None:
    """Return which UTF-16 a text without a mark is in; None if it is not that."""
    sample = data[: SAMPLE - SAMPLE % 4]
    if len(data) < 8 or (len(data) % 2 and len(data) < 64):
        return None
    # Text in other encodings has no zeros; a few are an accident.
    if not any(byte in sample for byte in b"\0\1\2\3\4\5\6"):
        return None
    spaces = {name: _spaces(sample, name) for name in ("utf-16-le", "utf-16-be")}
    # Greek with its bytes swapped reads as Korean, but has no spaces then.
    best = max(spaces, key=spaces.__getitem__)
    return best if spaces[best] >= 0 else None


def _spaces(sample: bytes, name: str) -> int:
    """Return the number of spaces in a text as UTF-16; -1 if it does not read well as that.

    It reads well if it is in one script, with the usual signs between.
    """
    text = sample.decode(name, "replace")
    counts = Counter[str]()
    common = odd = 0
    for character, number in Counter(text).items():
        script = _script(character)
        counts[script] += number
        if character in _COMMON_CHINESE or "\u3040" <= character < "\u3100":
            common += number
        if character == "\ufffd" or (
            unicodedata.category(character) in {"Cc", "Cn", "Co"}
            and character not in "\t\n\r\f\x1b"
        ):
            odd += number
    neutral = counts.pop("", 0)
    script, most = counts.most_common(1)[0] if counts else ("", 0)
    if odd * 50 > len(text) or (neutral + most) * 20 < 19 * len(text):
        return -1
    if script == "Chinese" and most > neutral and common * 30 < len(text):
        return -1  # any two ASCII letters are a Chinese character, but hardly ever a common one
    return text.count(" ") + text.count("\n")


def _script(character: str) -> str:
    """Return a name for the script of a character; "" for Latin letters, digits and signs."""
    code = ord(character)
    if code < 0x250 or 0x1E00 <= code < 0x1F00 or 0x2000 <= code < 0x2E80 or code >= 0xFE30:
        return ""
    if code < 0xA000 and code >= 0x2E80:
        return "" if 0x3000 <= code < 0x3040 else "Chinese"
    if 0xAC00 <= code < 0xD7B0 or 0x1100 <= code < 0x1200:
        return "Korean"
    return f"block {code >> 7}"
