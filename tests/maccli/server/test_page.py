"""The web page, in a real browser, on the model without networks."""

from __future__ import annotations

import re
import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from fastapi.testclient import TestClient

from maccli import Mac
from maccli.server import page as server_page
from maccli.server import run
from maccli.server.app import create_app
from maccli.server.engine import Engine
from maccli.server.safety import Access
from models.memory.confidence import GENERATED

from ..conftest import FakeMemory, FakeStream
from .conftest import BRIDGE, PRIZE, QUESTION, Gate, Serve, problem

KEY = "correct-horse-battery"
SURE = {**dict.fromkeys(GENERATED, 0.0), "bias": 3.0, "above": 0.5}
FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)
SECONDS = 60
"""The longest that a busy machine may take for anything."""
SEARCH = "**/v1/search*"
FOLDER = Path(server_page.__file__).parent


def test_the_page_needs_no_key_and_runs_nothing_foreign(memory: FakeMemory, serve: Serve) -> None:
    client = serve(access=Access(KEY))
    html = client.get("/")
    assert html.status_code == 200 and html.headers["content-type"].startswith("text/html")
    policy = html.headers["content-security-policy"]
    assert "default-src 'none'" in policy and "frame-ancestors 'none'" in policy
    assert "unsafe" not in policy and "*" not in policy and "http" not in policy
    assert html.headers["x-content-type-options"] == "nosniff"
    assert html.headers["referrer-policy"] == "no-referrer"
    # No script or style stands in it, and all that it loads is the server's own.
    assert not re.search(r"<style|\sstyle=|\son\w+=|<script[^>]*>[^<]", html.text)
    loaded = set(re.findall(r'(?:src|href)="([^#"]+)"', html.text))
    for file in FOLDER.glob("*.js"):
        loaded |= {f"page/{name}" for name in re.findall(r'from "\./(.+)"', file.read_text())}
    assert loaded == {f"page/{name}" for name in server_page._FILES if name != "index.html"}
    for address in loaded:
        assert client.get(f"/{address}").status_code == 200
    for path in ("/page/nothing.js", "/page/__init__.py", "/page/%2e%2e/app.py", "/page/"):
        problem(client.get(path), 404, "not_found")
    problem(client.get("/", headers={"host": "evil.example"}), 403, "wrong_host")
    problem(client.get("/page.css"), 401, "invalid_api_key")


def test_what_the_browser_has_is_not_sent_again(client: TestClient) -> None:
    first = client.get("/page/page.css")
    assert first.headers["cache-control"] == "no-cache"
    again = client.get("/page/page.css", headers={"if-none-match": first.headers["etag"]})
    assert (again.status_code, again.content) == (304, b"")
    assert again.headers["content-security-policy"] == first.headers["content-security-policy"]
    assert client.get("/", headers={"if-none-match": first.headers["etag"]}).status_code == 200
    assert client.head("/").content == b""


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api")
    if not (program := shutil.which("chromium")):
        pytest.skip("chromium is not installed")
    playwright.expect.set_options(timeout=SECONDS * 1000)
    with playwright.sync_playwright() as driver:
        started = driver.chromium.launch(executable_path=program, args=FLAGS)
        yield started
        started.close()


@dataclass
class Site:
    """A server, and what is in its first store."""

    address: str
    engine: Engine

    def add(self, name: str, text: str, tags: Sequence[str] = (), store: str = "notes") -> None:
        from maccli.reading.items import Piped

        self.engine.add(store, name, Piped(text.encode(), name), {"tags": tags}).future.result(300)

    def names(self) -> list[str]:
        with self.engine.open("notes") as mac:
            return [document.source for document in mac.documents()]


StartSite = Callable[..., Site]


@pytest.fixture
def start(memory: FakeMemory) -> Iterator[StartSite]:
    """Serve the store `notes` at a free port."""
    running: list[tuple[uvicorn.Server, threading.Thread, Mac]] = []

    def serve(key: str | None = None, also: Sequence[str] = ()) -> Site:
        mac = Mac("notes")
        engine = Engine(mac, {name: Path(name).absolute() for name in also}, queue=16)
        engine.load()
        config = run._config(create_app(engine, Access(key)))
        config.port = 0
        server = uvicorn.Server(config)
        thread = threading.Thread(target=server.run)
        thread.start()
        running.append((server, thread, mac))
        end = time.monotonic() + 60
        while not server.started:
            assert time.monotonic() < end
            time.sleep(0.01)
        port = server.servers[0].sockets[0].getsockname()[1]
        return Site(f"http://127.0.0.1:{port}", engine)

    yield serve
    for server, thread, mac in running:
        server.should_exit = True
        thread.join(60)
        mac.close()


@pytest.fixture
def visit(browser: Any) -> Iterator[Callable[..., Any]]:
    """Open a site in a window of its own; nothing may go wrong there, or go elsewhere."""
    contexts, wrong = [], []

    def open_page(site: Site, **options: Any) -> Any:
        context = browser.new_context(**{"reduced_motion": "reduce", **options})
        contexts.append(context)
        page = context.new_page()
        page.set_default_timeout(SECONDS * 1000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on(
            "console",
            # A status of 4xx is told there as well.
            lambda message: (
                message.type in ("error", "warning")
                and not message.text.startswith("Failed to load resource")
                and wrong.append(message.text)
            ),
        )
        page.on(
            "request",
            lambda request: (
                request.url.startswith((site.address, "blob:")) or wrong.append(request.url)
            ),
        )
        page.goto(site.address)
        return page

    yield open_page
    for context in contexts:
        context.close()
    assert not wrong


@pytest.fixture
def site(start: StartSite) -> Site:
    """A server with two documents."""
    site = start()
    site.add("bridge.txt", BRIDGE)
    site.add("prize.md", PRIZE, ["poetry"])
    return site


def answering(memory: FakeMemory, text: str, bias: float = 3.0) -> None:
    """Let the model answer with this, and be as sure."""
    memory.config.confidence = {**SURE, "bias": bias}
    answer = memory.answer
    memory.answer = lambda *args, **how: FakeStream(  # type: ignore[method-assign]
        [text], answer(*args, **how).attention, 1
    )


def expect(locator: Any) -> Any:
    from playwright.sync_api import expect

    return expect(locator)


def narrow(page: Any) -> bool:
    """Whether everything is in the window, without scrolling to the side."""
    wide = "document.documentElement.scrollWidth - document.documentElement.clientWidth"
    return int(page.evaluate(wide)) <= 0


def test_files_are_added_by_choosing_and_by_dropping(
    start: StartSite, visit: Callable[..., Any], work: Path
) -> None:
    site = start(also=["other"])
    site.add("first.txt", BRIDGE, store="other")  # what it imports takes its time
    page = visit(site)
    page.get_by_role("link", name="Documents").click()
    expect(page.locator("#documents-note")).to_have_text("No documents yet.")
    (work / "bridge.txt").write_text(BRIDGE)
    (work / "empty.txt").write_text(" ")
    page.fill("#tags", "Towns, 2026")
    page.set_input_files("#files", [work / "bridge.txt", work / "empty.txt"])
    rows = page.locator("#list > li")
    expect(rows).to_have_count(1)
    expect(rows.first.locator(".tag")).to_have_text(["2026", "towns"])
    expect(rows.first).to_contain_text("55 characters")
    expect(page.locator("#uploads")).to_contain_text("has no text in it.")
    page.get_by_role("button", name="Dismiss empty.txt").click()
    assert "empty.txt" not in page.locator("#uploads").inner_text()

    (work / "folder" / "deep").mkdir(parents=True)
    (work / "folder" / "deep" / "prize.md").write_text(PRIZE)
    (work / "folder" / ".hidden").write_text("Nobody is to see this.")
    page.fill("#tags", "")
    page.get_by_role("link", name="Search").click()
    devtools = page.context.new_cdp_session(page)
    data = {"items": [], "files": [str(work / "folder")], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver", "drop"):
        point = {"x": 200, "y": 300}
        devtools.send("Input.dispatchDragEvent", {"type": kind, "data": data, **point})
    expect(rows).to_have_count(2)
    assert site.names() == ["bridge.txt", "folder/deep/prize.md"]

    page.fill("#filter", "BRIDGE")
    expect(rows).to_have_count(1)
    expect(page.locator("#documents-note")).to_have_text("1 document")
    page.fill("#filter", "")
    expect(rows).to_have_count(2)
    rows.first.get_by_role("button", name="towns").click()
    expect(rows).to_have_count(1)
    page.locator("#documents .chosen").click()
    expect(rows).to_have_count(2)


def test_passages_appear_as_one_types(site: Site, visit: Callable[..., Any]) -> None:
    site.add("copy.txt", BRIDGE)
    page = visit(site, permissions=["clipboard-read", "clipboard-write"])
    page.locator("#question").press_sequentially("who opened the bri")
    first = page.locator("#results > li").first
    expect(first.locator("mark")).to_have_text("The bridge was opened by Ida Brandt.")
    expect(first).to_contain_text("Also in copy.txt")
    expect(first.locator(".score")).to_have_text(re.compile(r"^-?\d+\.\d\d$"))
    first.get_by_role("button", name="Copy").click()
    expect(first.get_by_role("button", name="Copy")).to_have_text("Copied")
    assert BRIDGE in page.evaluate("navigator.clipboard.readText()")

    page.fill("#question", "poetry prize")
    expect(page.locator("#results .open").first).to_have_text("prize.md")
    page.locator("#results .open").first.click()
    panel = page.get_by_role("dialog")
    expect(panel.get_by_role("heading")).to_have_text("prize.md")
    expect(panel.locator("mark")).to_have_text("The poetry prize went to Tomas Reyl.")
    expect(panel).to_contain_text("poetry")
    page.keyboard.press("Escape")
    expect(panel).to_have_count(0)


def test_an_old_search_does_not_replace_a_newer_one(
    site: Site, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    page = visit(site)
    held: list[Any] = []
    page.route(
        SEARCH,
        lambda route: (
            held.append(route) if "poetry" in route.request.post_data else route.continue_()
        ),
    )
    page.fill("#question", "poetry prize")
    end = time.monotonic() + SECONDS
    while not held:
        assert time.monotonic() < end
        page.wait_for_timeout(20)
    with page.expect_event("requestfailed"):  # it is aborted
        page.fill("#question", "who opened the bridge")
    expect(page.locator("#results .open").first).to_have_text("bridge.txt")


def test_a_question_is_answered_and_followed_up(
    site: Site, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    answering(memory, " ida brandt")
    page = visit(site)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    turns = page.locator("#conversation > li")
    expect(turns.locator(".answer")).to_have_text("ida brandt")
    expect(turns).to_contain_text("95 % sure")
    expect(turns.locator("mark").first).to_have_text("Ida Brandt")
    expect(turns.locator(".open").first).to_have_text("bridge.txt")
    expect(page.locator("#status")).to_have_text("ida brandt, 95 % sure")
    expect(page.locator("#results > li")).to_have_count(0)
    turns.locator(".open").first.click()
    expect(page.get_by_role("dialog").locator("mark")).to_have_text("Ida Brandt")
    page.keyboard.press("Escape")

    answering(memory, " Tomas Reyl")
    page.fill("#question", "And who won the poetry prize?")
    with page.expect_request("**/chat/completions") as asked:
        page.get_by_role("button", name="Ask").click()
    expect(turns).to_have_count(2)
    expect(turns.first.locator("h2")).to_have_text(QUESTION)
    expect(turns.last.locator(".answer")).to_have_text("Tomas Reyl")
    assert [message["content"] for message in asked.value.post_data_json["messages"]] == [
        QUESTION,
        "ida brandt",
        "And who won the poetry prize?",
    ]
    with page.expect_request(SEARCH) as searched:
        page.fill("#question", "And since when?")
    assert searched.value.post_data_json["history"][0] == [QUESTION, "ida brandt"]
    page.get_by_role("button", name="New conversation").click()
    expect(turns).to_have_count(0)
    page.fill("#question", QUESTION)
    with page.expect_request("**/chat/completions") as asked:
        page.keyboard.press("Enter")
    assert len(asked.value.post_data_json["messages"]) == 1


def test_not_sure_is_shown_as_such(
    site: Site, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    answering(memory, " Ida Brandt", bias=-3.0)
    page = visit(site)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    turn = page.locator("#conversation > li").last
    expect(turn.locator(".excuse")).to_have_text("Not sure. This passage may hold it:")
    expect(turn.locator("mark").first).to_have_text("The bridge was opened by Ida Brandt.")
    assert "%" not in turn.inner_text()
    page.fill("#question", "Summarise the bridge opened by Ida Brandt")
    page.keyboard.press("Enter")
    turn = page.locator("#conversation > li").last
    expect(turn.locator(".excuse")).to_contain_text("I cannot summarise")
    expect(turn.locator(".text").first).to_have_text("The bridge was opened by Ida Brandt.")
    expect(turn.locator("mark")).to_have_count(0)
    page.fill("#question", "zzzz qqqq")
    page.keyboard.press("Enter")
    turn = page.locator("#conversation > li").last
    expect(turn.locator(".excuse")).to_have_text("Nothing relevant found in 2 documents.")
    expect(turn.locator(".passage")).to_have_count(0)


def test_an_answer_can_be_stopped(site: Site, gate: Gate, visit: Callable[..., Any]) -> None:
    page = visit(site)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    assert gate.entered.wait(60)
    page.get_by_role("button", name="Stop").click()
    expect(page.locator("#conversation .trouble")).to_have_text("Stopped.")
    expect(page.get_by_role("button", name="Ask")).to_be_visible()
    expect(page.locator("#question")).to_have_value(QUESTION)
    gate.open.set()
    page.keyboard.press("Tab")
    page.locator("#question").press("Enter")
    expect(page.locator("#conversation .answer")).to_have_text("An answer from 2.")


def test_a_removal_can_be_taken_back(site: Site, visit: Callable[..., Any]) -> None:
    page = visit(site)
    page.clock.install()
    page.get_by_role("link", name="Documents").click()
    page.get_by_role("button", name="Remove bridge.txt").click()
    expect(page.locator("#list")).to_contain_text("bridge.txt is removed.")
    page.get_by_role("button", name="Undo").click()
    page.clock.fast_forward(20_000)
    expect(page.get_by_role("button", name="Remove bridge.txt")).to_be_visible()
    assert site.names() == ["bridge.txt", "prize.md"]
    page.get_by_role("button", name="Remove bridge.txt").click()
    page.clock.fast_forward(20_000)
    expect(page.locator("#list > li")).to_have_count(1)
    assert site.names() == ["prize.md"]
    page.get_by_role("button", name="Remove prize.md").click()
    page.goto("about:blank")  # which does not wait
    end = time.monotonic() + 20
    while site.names():
        assert time.monotonic() < end
        time.sleep(0.02)


def test_the_key_is_asked_for(start: StartSite, visit: Callable[..., Any]) -> None:
    site = start(KEY)
    site.add("bridge.txt", BRIDGE)
    page = visit(site)
    dialog = page.get_by_role("dialog")
    expect(dialog).to_contain_text("This server wants a key")
    assert "wrong" not in dialog.inner_text()
    page.keyboard.press("Escape")
    expect(dialog).to_be_visible()
    page.fill("#key-value", "wrong-horse-battery")
    page.keyboard.press("Enter")
    expect(dialog).to_contain_text("This key is wrong.")
    page.fill("#key-value", KEY)
    page.keyboard.press("Enter")
    expect(dialog).to_have_count(0)
    page.fill("#question", QUESTION)
    expect(page.locator("#results > li")).to_have_count(1)
    assert page.evaluate("[localStorage.length, document.cookie, sessionStorage['mac-key']]") == [
        0,
        "",
        KEY,
    ]
    page.reload()
    page.get_by_role("link", name="Documents").click()
    expect(page.locator("#list > li")).to_have_count(1)


HOSTILE = """</script><script>document.title = "taken"</script>
<img src=x onerror="document.title = 'taken'"><svg onload="document.title='taken'"> 🙂🙂 javascript:
The bridge <b>was</b> opened by <i>Ida-Maria Brandt</i> & nobody else."""


def test_what_a_document_says_is_text(
    start: StartSite, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    answering(memory, "<i>Ida-Maria Brandt</i>")
    site = start()
    name = '<img src=x onerror="document.title=1">.txt'
    site.add(name, HOSTILE, ["<b>tag</b>"])
    page = visit(site)
    page.fill("#question", "Who opened the bridge? <img src=x onerror=alert(1)>")
    expect(page.locator("#results")).to_contain_text("<b>was</b> opened by <i>Ida-Maria Brandt</i>")
    page.keyboard.press("Enter")
    expect(page.locator("#conversation .answer")).to_have_text("<i>Ida-Maria Brandt</i>")
    expect(page.locator("#conversation mark").first).to_have_text("<i>Ida-Maria Brandt</i>")
    page.locator("#conversation .open").first.click()
    panel = page.get_by_role("dialog")
    expect(panel.get_by_role("heading")).to_have_text(name)
    expect(panel.locator("mark")).to_have_text("<i>Ida-Maria Brandt</i>")
    expect(panel).to_contain_text('</script><script>document.title = "taken"</script>')
    page.keyboard.press("Escape")
    page.get_by_role("link", name="Documents").click()
    expect(page.locator("#list .tag")).to_have_text("<b>tag</b>")
    assert page.title() == "mac"
    assert (
        page.locator("main img, main svg, main b, main i, dialog img, body > script").count() == 0
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_narrow_and_dark_screens(
    site: Site, memory: FakeMemory, visit: Callable[..., Any], scheme: str
) -> None:
    long = "Donaudampfschifffahrtsgesellschaft" * 4
    site.add(f"{long}.txt", f"The bridge was opened near {long} by Ida Brandt.", [long[:90]])
    answering(memory, f" {long}")
    page = visit(site, color_scheme=scheme, viewport={"width": 360, "height": 640})
    assert narrow(page)
    page.fill("#question", f"{QUESTION} {long}")
    expect(page.locator("#results > li").first).to_be_visible()
    assert narrow(page)
    page.keyboard.press("Enter")
    expect(page.locator("#conversation .answer")).to_have_text(long)
    assert narrow(page)
    page.get_by_role("button", name=long).first.click()
    expect(page.get_by_role("dialog")).to_be_visible()
    assert narrow(page)
    page.keyboard.press("Escape")
    for view in ("Documents", "Log"):
        page.get_by_role("link", name=view).click()
        shown = page.locator("main > section:not([hidden])")
        expect(shown.get_by_text(long).first).to_be_visible()
        assert narrow(page)
    shades = "(({color, backgroundColor}) => [color, backgroundColor])(getComputedStyle(%s))"
    text, ground = page.evaluate(shades % "document.documentElement")
    bright = [sum(map(int, re.findall(r"\d+", shade)[:3])) for shade in (text, ground)]
    assert (bright[0] > bright[1]) == (scheme == "dark")


def test_the_keyboard_alone_will_do(
    site: Site, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    answering(memory, " Ida Brandt")
    page = visit(site)
    keys = page.keyboard
    expect(page.locator("#question")).to_be_focused()
    keys.type("who opened the bridge")
    expect(page.locator("#results > li")).to_have_count(2)
    keys.press("ArrowDown")
    expect(page.locator("#results .open").first).to_be_focused()
    keys.press("ArrowDown")
    expect(page.locator("#results .open").last).to_be_focused()
    keys.press("ArrowUp")
    keys.press("Enter")
    expect(page.get_by_role("dialog")).to_be_visible()
    expect(page.locator("#panel-text")).to_be_focused()
    keys.press("Escape")
    expect(page.locator("#results .open").first).to_be_focused()
    outline = "getComputedStyle(document.activeElement).outlineStyle"
    assert page.evaluate(outline) == "solid"
    keys.press("Escape")
    expect(page.locator("#question")).to_be_focused()
    keys.press("Enter")
    expect(page.locator("#conversation")).to_contain_text("95 % sure")
    keys.press("ArrowUp")
    expect(page.locator("#conversation .open").last).to_be_focused()
    keys.press("/")
    expect(page.locator("#question")).to_be_focused()
    keys.type("a/b")
    expect(page.locator("#question")).to_have_value("a/b")
    keys.press("Escape")
    expect(page.locator("#question")).to_have_value("")


def test_the_log_asks_again_and_is_cleared(
    site: Site, memory: FakeMemory, visit: Callable[..., Any]
) -> None:
    answering(memory, " Ida Brandt")
    page = visit(site)
    page.fill("#question", QUESTION)
    page.keyboard.press("Enter")
    expect(page.locator("#conversation")).to_contain_text("95 % sure")
    page.get_by_role("link", name="Log").click()
    entry = page.locator("#entries > li")
    expect(entry).to_contain_text("95 % sure · bridge.txt")
    entry.get_by_role("button", name="Ask again").click()
    expect(page.locator("#conversation > li")).to_have_count(2)
    expect(page.locator("#conversation > li").last).to_contain_text("95 % sure")
    page.get_by_role("link", name="Log").click()
    expect(entry).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.dismiss())
    page.get_by_role("button", name="Clear the log").click()
    expect(entry).to_have_count(2)
    page.once("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Clear the log").click()
    expect(page.locator("#log-note")).to_have_text("No questions in the log.")


def test_one_of_several_stores_is_chosen(start: StartSite, visit: Callable[..., Any]) -> None:
    site = start(also=["recipes"])
    site.add("bridge.txt", BRIDGE)
    site.add("soup.txt", "The soup was opened by nobody.", store="recipes")
    page = visit(site)
    page.fill("#question", "opened")
    expect(page.locator("#results .open")).to_have_text("bridge.txt")
    page.select_option("#store", "recipes")
    expect(page.locator("#results .open")).to_have_text("soup.txt")
    page.keyboard.press("/")
    page.locator("#question").press("Enter")
    expect(page.locator("#conversation .open")).to_have_text("soup.txt")
    page.get_by_role("link", name="Documents").click()
    expect(page.locator("#list .open")).to_have_text("soup.txt")
