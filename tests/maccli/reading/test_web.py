from __future__ import annotations

import gzip
import socket
import threading
import zlib
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from maccli.reading import loaders, web
from maccli.reading.encodings import Refused
from maccli.reading.web import fetch

PAGE = "<!doctype html><title>Fares</title><p>The ferry costs 14 crowns, café included.</p>"
HTML = {"Content-Type": "text/html; charset=utf-8"}
Reply = tuple[int, dict[str, str], bytes]
Site = dict[str, Reply | Callable[[BaseHTTPRequestHandler], None]]


@pytest.fixture
def site(monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[str, Site, list[tuple[str, str]]]]:
    """A server on loopback: its address, its answers by path, and what it was asked."""
    monkeypatch.setenv("no_proxy", "*")
    answers: Site = {}
    asked: list[tuple[str, str]] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append((self.path, self.headers["User-Agent"]))
            answer = answers.get(self.path, (404, {}, b""))
            if callable(answer):
                answer(self)
                return
            code, headers, body = answer
            self.send_response(code)
            for name, value in headers.items():
                self.send_header(name, value)
            if "Content-Length" not in headers:
                self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    yield f"http://127.0.0.1:{server.server_address[1]}", answers, asked
    server.shutdown()
    server.server_close()
    thread.join()


def test_a_page_is_fetched(site: tuple[str, Site, list[tuple[str, str]]]) -> None:
    url, answers, asked = site
    answers["/fares"] = (200, HTML, PAGE.encode())
    page = fetch(f"{url}/fares#adults")
    assert page.data == PAGE.encode()
    assert (page.name, page.media_type, page.encoding) == ("fares.html", "text/html", None)
    assert page.url == f"{url}/fares"
    assert [path for path, _ in asked] == ["/robots.txt", "/fares"]
    assert all(agent.startswith("mac/") for _, agent in asked)


@pytest.mark.parametrize(
    ("path", "kind", "body", "name"),
    [
        ("/", "text/html", b"<p>x", "index.html"),
        ("/a.php", "text/html", b"<p>x", "a.php.html"),
        ("/plan.pdf", "application/pdf", b"%PDF-", "plan.pdf"),
        ("/get?id=3", "application/pdf", b"%PDF-", "get.pdf"),
        ("/notes.md", "text/plain", b"# x", "notes.md"),
        ("/notes", "text/plain", b"x", "notes.txt"),
        ("/fares.csv", "text/html", b"Place,Price\nSkarn,14", "fares.csv"),
        ("/r%C3%A9sum%C3%A9.txt", "text/plain", b"x", "résumé.txt"),
    ],
)
def test_the_name_says_what_it_is(
    site: tuple[str, Site, list[tuple[str, str]]], path: str, kind: str, body: bytes, name: str
) -> None:
    url, answers, _ = site
    answers[path] = (200, {"Content-Type": kind}, body)
    assert fetch(url + path).name == name


def test_a_file_that_is_handed_out_keeps_its_name(
    site: tuple[str, Site, list[tuple[str, str]]],
) -> None:
    url, answers, _ = site
    headers = {"Content-Type": "application/pdf", "Content-Disposition": 'a; filename="../b.pdf"'}
    answers["/x"] = (200, headers, b"%PDF-")
    assert fetch(f"{url}/x").name == "b.pdf"


@pytest.mark.parametrize(
    ("charset", "encoding", "expected"),
    [("latin1", "cp1252", "latin1"), ("latin1", "utf-8", None), ("klingon", "cp1252", None)],
)
def test_the_encoding_is_believed_if_it_can_be(
    site: tuple[str, Site, list[tuple[str, str]]],
    charset: str,
    encoding: str,
    expected: str | None,
) -> None:
    url, answers, _ = site
    answers["/a"] = (200, {"Content-Type": f"text/html; charset={charset}"}, PAGE.encode(encoding))
    assert fetch(f"{url}/a").encoding == expected


def test_it_goes_where_the_page_is_now(site: tuple[str, Site, list[tuple[str, str]]]) -> None:
    url, answers, _ = site
    answers["/old"] = (301, {"Location": "/new?a=ü b"}, b"")
    answers["/new?a=%C3%BC%20b"] = (200, HTML, PAGE.encode())
    answers["/here"] = (302, {"Location": "/here"}, b"")
    answers["/out"] = (302, {"Location": "file:///etc/passwd"}, b"")
    assert fetch(f"{url}/old").url == f"{url}/new?a=%C3%BC%20b"
    with pytest.raises(Refused, match="leads on to another address 6 times"):
        fetch(f"{url}/here")
    with pytest.raises(Refused, match="only http and https"):
        fetch(f"{url}/out")


def test_the_web_does_not_lead_into_a_private_network(
    site: tuple[str, Site, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers, asked = site
    answers["/in"] = (302, {"Location": url.replace("127.0.0.1", "localhost") + "/secret"}, b"")
    answers["/secret"] = (200, HTML, PAGE.encode())
    monkeypatch.setattr(web, "_is_private", lambda address: address.hostname == "localhost")
    with pytest.raises(Refused, match="into a private network"):
        fetch(f"{url}/in")
    assert "/secret" not in [path for path, _ in asked]


@pytest.mark.parametrize(
    ("host", "private"),
    [("127.0.0.1", True), ("[::1]", True), ("10.1.2.3", True), ("169.254.169.254", True),
     ("[::ffff:192.168.0.1]", True), ("8.8.8.8", False)],
)  # fmt: skip
def test_private_networks_are_known(host: str, private: bool) -> None:
    assert web._is_private(web._checked(f"http://{host}/")) is private


def test_robots_are_asked_first(site: tuple[str, Site, list[tuple[str, str]]]) -> None:
    url, answers, asked = site
    answers["/robots.txt"] = (200, {}, b"User-agent: *\nDisallow: /private\n")
    answers["/private/a"] = answers["/a"] = (200, HTML, PAGE.encode())
    answers["/b"] = (302, {"Location": "/private/a"}, b"")
    assert fetch(f"{url}/a").data
    for path in ("/private/a", "/b"):
        with pytest.raises(Refused, match=r"robots\.txt does not allow it"):
            fetch(url + path)
    assert "/private/a" not in [path for path, _ in asked]


def test_without_robots_a_site_is_open_unless_it_is_broken(
    site: tuple[str, Site, list[tuple[str, str]]],
) -> None:
    url, answers, _ = site
    answers["/a"] = (200, HTML, PAGE.encode())
    answers["/robots.txt"] = (403, {}, b"")
    assert fetch(f"{url}/a").data
    answers["/robots.txt"] = (503, {}, b"")
    with pytest.raises(Refused, match=r"robots\.txt cannot be fetched: .*503"):
        fetch(f"{url}/a")


def test_a_page_that_is_not_there(site: tuple[str, Site, list[tuple[str, str]]]) -> None:
    url, _, _ = site
    with pytest.raises(Refused, match=r"cannot be fetched: the server says no \(404 Not Found\)"):
        fetch(f"{url}/gone")


def test_a_server_that_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("no_proxy", "*")
    with socket.socket() as taken:  # bound, but nobody listens
        taken.bind(("127.0.0.1", 0))
        with pytest.raises(Refused, match="refuses the connection"):
            fetch(f"http://127.0.0.1:{taken.getsockname()[1]}/")


def test_what_is_too_large_is_not_read_to_its_end(
    site: tuple[str, Site, list[tuple[str, str]]], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, answers, _ = site
    monkeypatch.setattr(loaders, "MAX_BYTES", 2**20)
    bomb = gzip.compress(bytes(5 * 2**20))
    answers["/bomb"] = (200, HTML | {"Content-Encoding": "gzip"}, bomb)
    answers["/long"] = (200, HTML, bytes(2 * 2**20))

    def endless(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)  # and never says how long it is
        handler.end_headers()
        try:
            while True:
                handler.wfile.write(bytes(2**16))
        except OSError:
            pass

    answers["/endless"] = endless
    for path in ("/bomb", "/long", "/endless"):
        with pytest.raises(Refused, match="is larger than 1 MB"):
            fetch(url + path)


@pytest.mark.parametrize("packing", ["gzip", "deflate", "bare"])
def test_packed_pages_are_unpacked(
    site: tuple[str, Site, list[tuple[str, str]]], packing: str
) -> None:
    url, answers, _ = site
    bare = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    packed = {
        "gzip": gzip.compress(PAGE[:9].encode()) + gzip.compress(PAGE[9:].encode()),
        "deflate": zlib.compress(PAGE.encode()),
        "bare": bare.compress(PAGE.encode()) + bare.flush(),
    }[packing]
    headers = HTML | {"Content-Encoding": "gzip" if packing == "gzip" else "deflate"}
    answers["/a"] = (200, headers, packed)
    answers["/cut"] = (200, headers, packed[:-8])
    assert fetch(f"{url}/a").data == PAGE.encode()
    with pytest.raises(Refused, match="broke off"):
        fetch(f"{url}/cut")


def test_what_breaks_off_is_not_half_a_page(
    site: tuple[str, Site, list[tuple[str, str]]],
) -> None:
    url, answers, _ = site

    def half(handler: BaseHTTPRequestHandler) -> None:
        handler.send_response(200)
        handler.send_header("Content-Length", "1000")
        handler.end_headers()
        handler.wfile.write(b"half")

    answers["/half"] = half
    answers["/packed"] = (200, HTML | {"Content-Encoding": "br"}, b"x")
    with pytest.raises(Refused, match="the connection broke off"):
        fetch(f"{url}/half")
    with pytest.raises(Refused, match=r"a way that is not known \(br\)"):
        fetch(f"{url}/packed")


def test_a_slow_server_is_left(site: tuple[str, Site, list[tuple[str, str]]]) -> None:
    url, answers, _ = site
    released = threading.Event()

    def silent(handler: BaseHTTPRequestHandler) -> None:
        released.wait(10)

    answers["/slow"] = silent
    with pytest.raises(Refused, match="does not answer in time"):
        fetch(f"{url}/slow", timeout=0.2)
    released.set()


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("ftp://example.org/a", "only http and https"),
        ("file:///etc/passwd", "only http and https"),
        ("https://me:secret@example.org/", "a user name or a password"),
        ("https://", "names no server"),
        ("http://[::1/", "is no address"),
        ("http://a:99999/", "is no address"),
        ("http://a..b/", "is no address"),
    ],
)
def test_what_is_no_address_is_refused(url: str, reason: str) -> None:
    with pytest.raises(Refused, match=reason):
        fetch(url)
