"""Pages of the web: one address, fetched as a browser would, and nothing that it links to."""

from __future__ import annotations

import http.client
import ipaddress
import mimetypes
import posixpath
import re
import socket
import ssl
import time
import urllib.error
import urllib.request
import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from email.message import Message
from importlib.metadata import PackageNotFoundError, version
from typing import Any
from urllib.parse import SplitResult, quote, unquote, urljoin, urlsplit
from urllib.robotparser import RobotFileParser

from maccli.reading import encodings, loaders
from maccli.reading.encodings import Refused

TIMEOUT = 20.0
"""Seconds that a server may stay silent; it may take six times as long for a page."""
MAX_REDIRECTS = 5

_MAX_ROBOTS = 512 * 1024
_BLOCK = 64 * 1024
_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_ACCEPT = "text/html, application/xhtml+xml, application/pdf, text/*, */*;q=0.8"
_SUFFIXES = {
    "application/json": ".json",
    "application/xhtml+xml": ".xhtml",
    "text/html": ".html",
    "text/markdown": ".md",
    "text/plain": ".txt",
    "text/x-markdown": ".md",
}
_IS_PAGE = re.compile(rb"<(?:!doctype|html|head|body|meta|title|script|div|p)\b", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Fetched:
    """What an address gave.

    Attributes:
        data: the page or file.
        name: of a file that holds it; its suffix says what kind it is.
        media_type: that the server gives it.
        encoding: that the server says it is in, if it is.
        url: where it was found in the end.
    """

    data: bytes
    name: str
    media_type: str | None
    encoding: str | None
    url: str


def fetch(url: str, *, timeout: float = TIMEOUT) -> Fetched:
    """Return the page or file at an address.

    Args:
        url: the address, http or https; what stands behind a "#" is left out.
        timeout: see `TIMEOUT`.

    Raises:
        Refused: it cannot be fetched, its site does not want that, or it is too large.
    """
    address = _checked(url)
    deadline = time.monotonic() + 6 * timeout
    robots = dict[str, RobotFileParser]()
    for _ in range(MAX_REDIRECTS + 1):
        origin = f"{address.scheme}://{address.netloc}"
        if origin not in robots:
            robots[origin] = _robots(address, timeout, deadline)
        if not robots[origin].can_fetch(_agent(), address.geturl()):
            raise Refused("is not fetched: the site's robots.txt does not allow it")
        answer = _get(address.geturl(), timeout, deadline, loaders.MAX_BYTES)
        if answer.target is None:
            return _fetched(answer, address)
        address = _next(address, answer.target)
    raise Refused(f"cannot be fetched: it leads on to another address {MAX_REDIRECTS + 1} times")


@dataclass(frozen=True, slots=True)
class _Answer:
    """What a server answers: a file, or the address where it is now."""

    data: bytes
    headers: Message
    target: str | None = None


class _NoRedirect(urllib.request.HTTPRedirectHandler):
    """Leaves it to the caller to go on, who looks at each address first."""

    def redirect_request(self, *args: Any, **kwargs: Any) -> None:
        """Return that there is no new request."""
        return None


def _checked(url: str) -> SplitResult:
    """Return an address as it can be sent.

    Raises:
        Refused: it cannot be.
    """
    try:
        parts = urlsplit(url.strip())
        host, port = parts.hostname or "", parts.port
        host = host if ":" in host else host.encode("idna").decode("ascii")
    except ValueError:  # UnicodeError is one
        raise Refused("cannot be fetched: it is no address") from None
    if parts.scheme not in ("http", "https"):
        raise Refused("cannot be fetched: only http and https addresses can be")
    if parts.username is not None or parts.password is not None:
        raise Refused("has a user name or a password in it; leave them out")
    if not host:
        raise Refused("cannot be fetched: it names no server")
    host = f"[{host}]" if ":" in host else host
    default = {"http": 80, "https": 443}[parts.scheme]
    place = host if port in (None, default) else f"{host}:{port}"
    path = quote(parts.path or "/", safe="/%:=&?~#+!$,;'@()*[]")
    query = quote(parts.query, safe="/%:=&?~#+!$,;'@()*[]")
    return SplitResult(parts.scheme, place, path, query, "")


def _is_private(address: SplitResult) -> bool:
    """Return whether a server stands in a private network, or is this machine."""
    try:
        found = socket.getaddrinfo(address.hostname, address.port or address.scheme)
    except OSError:
        return False  # which is reported when it is fetched
    addresses = [ipaddress.ip_address(str(entry[4][0]).partition("%")[0]) for entry in found]
    return any(not one.is_global or one.is_multicast for one in addresses)


def _next(address: SplitResult, target: str) -> SplitResult:
    """Return the address that another one leads to.

    Raises:
        Refused: it cannot be fetched, or the web must not lead there.
    """
    found = _checked(urljoin(address.geturl(), target))
    if _is_private(found) and not _is_private(address):
        raise Refused("cannot be fetched: it leads from the web into a private network")
    return found


def _robots(address: SplitResult, timeout: float, deadline: float) -> RobotFileParser:
    """Return what a site lets programs fetch.

    Raises:
        Refused: the site does not say, as something is wrong there.
    """
    parser = RobotFileParser()
    address = address._replace(path="/robots.txt", query="")
    try:
        for _ in range(MAX_REDIRECTS + 1):
            answer = _get(address.geturl(), timeout, deadline, _MAX_ROBOTS, cut=True)
            if answer.target is None:
                parser.parse(answer.data.decode("utf-8", "replace").splitlines())
                return parser
            address = _next(address, answer.target)
    except _NotThere:
        parser.parse([])
        return parser
    except Refused as error:
        raise Refused(f"is not fetched: the site's robots.txt {error}") from error
    parser.parse([])  # as if it were not there
    return parser


class _NotThere(Refused):
    """The server says that there is nothing, or nothing for us."""


def _get(url: str, timeout: float, deadline: float, most: int, *, cut: bool = False) -> _Answer:
    """Ask a server once.

    Args:
        url: the address.
        timeout: see `TIMEOUT`.
        deadline: when it has to be done, by the clock of `time.monotonic`.
        most: bytes that are read.
        cut: whether what is longer is cut off rather than refused.

    Raises:
        Refused: it has no good answer.
    """
    opener = urllib.request.build_opener(_NoRedirect)
    headers = {"User-Agent": _agent(), "Accept": _ACCEPT, "Accept-Encoding": "gzip, deflate"}
    request = urllib.request.Request(url, headers=headers)
    try:
        with opener.open(request, timeout=timeout) as response:
            data = bytearray()
            for block in _unpacked(response, deadline):
                data += block
                if len(data) > most:
                    if cut:
                        break
                    raise Refused(f"is larger than {most // 2**20} MB, and is not fetched")
            return _Answer(bytes(data), response.headers)
    except urllib.error.HTTPError as error:
        with error:
            target = error.headers.get("Location")
            if error.code in _REDIRECTS and target:
                return _Answer(b"", error.headers, target)
            what = f"{error.code} {error.reason}".strip()
        kind = _NotThere if 400 <= error.code < 500 and error.code != 429 else Refused
        raise kind(f"cannot be fetched: the server says no ({what})") from None
    except (OSError, http.client.HTTPException, ValueError, zlib.error) as error:
        raise Refused(f"cannot be fetched: {_reason(error)}") from error


def _reason(error: BaseException) -> str:
    """Return why a server could not be asked, in a few words."""
    if isinstance(error, urllib.error.URLError) and isinstance(error.reason, BaseException):
        error = error.reason
    if isinstance(error, TimeoutError):
        return "the server does not answer in time"
    if isinstance(error, socket.gaierror):
        return "there is no server of that name, or no network"
    if isinstance(error, ssl.SSLCertVerificationError):
        return f"the server's certificate is not valid ({error.verify_message})"
    if isinstance(error, ConnectionRefusedError):
        return "the server refuses the connection"
    if isinstance(error, http.client.IncompleteRead):
        return "the connection broke off"
    return " ".join(str(error).split()) or type(error).__name__


def _unpacked(response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
    """Yield what a server sends in blocks of bounded size, unpacked."""
    packing = (response.headers.get("Content-Encoding") or "identity").strip().lower()
    blocks = _blocks(response, deadline)
    if packing == "identity":
        yield from blocks
        return
    if packing not in ("gzip", "x-gzip", "deflate"):
        raise ValueError(f"it comes packed in a way that is not known ({packing[:20]})")
    unpacker = None
    for block in blocks:
        while block:
            if unpacker is None or unpacker.eof:
                # Some servers leave out the head of "deflate".
                bare = packing == "deflate" and block[0] & 0x0F != 8
                unpacker = zlib.decompressobj(-zlib.MAX_WBITS if bare else zlib.MAX_WBITS | 32)
            yield unpacker.decompress(block, _BLOCK)
            block = unpacker.unused_data.lstrip(b"\0") if unpacker.eof else unpacker.unconsumed_tail
    if unpacker is not None and not unpacker.eof:
        raise ValueError("the connection broke off")


def _blocks(response: http.client.HTTPResponse, deadline: float) -> Iterator[bytes]:
    length = response.length  # None if the server does not say it
    size = 0
    while block := response.read1(_BLOCK):
        size += len(block)
        if time.monotonic() > deadline:
            raise TimeoutError
        yield block
    if length is not None and size < length:
        raise ValueError("the connection broke off")


def _fetched(answer: _Answer, address: SplitResult) -> Fetched:
    kind = answer.headers.get_content_type() if "Content-Type" in answer.headers else None
    name = answer.headers.get_filename() or unquote(posixpath.basename(address.path)) or "index"
    name = re.split(r"[/\\]", name)[-1][:200]
    guessed = mimetypes.guess_type(name)[0]
    if kind == "text/html" and guessed and not _IS_PAGE.search(answer.data[:4000]):
        kind = guessed  # many servers say that of whatever they have
    suffix = _SUFFIXES.get(kind or "") or mimetypes.guess_extension(kind or "") or ""
    # Plain text can be anything that is text: the suffix knows more.
    if suffix and guessed != kind and not (kind == "text/plain" and posixpath.splitext(name)[1]):
        name += suffix
    charset = answer.headers.get_content_charset()
    encoding = charset if charset and _is_in(answer.data, charset) else None
    return Fetched(answer.data, name, kind, encoding, address.geturl())


def _is_in(data: bytes, label: str) -> bool:
    """Return whether a page is in the encoding that its server says; UTF-8 is known without."""
    codec = encodings.codec_of(label)
    return codec is not None and not _decodes(data, "utf-8") and _decodes(data, codec)


def _decodes(data: bytes, codec: str) -> bool:
    try:
        data.decode(codec)
    except UnicodeDecodeError:
        return False
    return True


def _agent() -> str:
    try:
        return f"mac/{version('maccli')}"
    except PackageNotFoundError:
        return "mac/0"
