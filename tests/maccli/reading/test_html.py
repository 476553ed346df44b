from __future__ import annotations

import re
from collections import Counter

import pytest

from maccli.reading.draft import Draft
from maccli.reading.formats import html
from store.marks import in_words, mark_at


def read(body: str, name: str = "a.html") -> Draft:
    return html.read(body, name)


def text(body: str) -> str:
    return read(body).text


TAGS = """
a abbr acronym address applet article aside audio b bdi bdo big blink blockquote button canvas
center cite code data del details dfn div em fieldset figure font footer form h1 h2 h3 h4 h5 h6
header hgroup i ins kbd label legend li main map mark marquee menu meter nobr noscript object ol
output p pre progress q s samp section small span strike strong sub summary sup textarea time tt u
ul unknown var video x-box
"""
# In each of these elements WORD can be seen.
SEEN = [
    *(f"<{tag}>WORD</{tag}>" for tag in TAGS.split()),
    "<xmp>WORD</xmp>",
    "<listing>WORD</listing>",
    "<figure><img src=a><figcaption>WORD</figcaption></figure>",
    "<details><summary>x</summary>WORD</details>",
    "<dl><dt>WORD<dd></dl>",
    "<dl><dt><dd>WORD</dl>",
    "<dl><dd>x<dd>WORD</dl>",
    "<dl><div><dt>x</dt><dd><p>WORD</p></dd></div></dl>",
    "<ul><li><p>x<p>WORD</ul>",
    "<ul><li>x<ol><li>WORD</ol></ul>",
    "<li>WORD",
    "<table><caption>WORD</caption><tr><td>x<td>y</table>",
    "<table><tr><td>WORD</table>",
    "<table><tr><td>x<td>WORD<tr><td>1<td>2</table>",
    "<table><tr><th>WORD<td>x</table>",
    "<table><thead><tr><th>WORD<th>x</thead><tr><td>1<td>2</table>",
    "<table><thead><tr><th>WORD<th>x</thead></table>",
    "<table><thead><tr><th>x<th>WORD</thead><tr><td>1<td></table>",
    "<table><tr><th>x<th>y<tr><td>1<td>2<tfoot><tr><td>sum<td>WORD</table>",
    "<table><tr><th colspan=2>WORD<tr><th>a<th>b<tr><td>1<td>2</table>",
    "<table><tr><th>a<th>b<tr><td>1<td>2<tr><td colspan=2>WORD<tr><td>3<td>4</table>",
    "<table><tr><td>x<td><table><tr><td>WORD</table></table>",
    "<table><tr><td><h2>WORD</h2><p>x<td>y</table>",
    "<table>WORD<tr><td>x<td>y</table>",
    "<table><tr><td>x<td><pre>WORD</pre></table>",
    "<form><label for=i>x</label><input id=i value=WORD></form>",
    "<input placeholder=WORD>",
    "<input type=submit value=WORD>",
    "<input type=image alt=WORD>",
    "<select><option>x<option selected>WORD</select>",
    "<select><optgroup label=WORD><option>x</optgroup></select>",
    "<select><optgroup label=x><option>y</optgroup><option>WORD</select>",
    "<input list=l><datalist id=l><option>WORD</datalist>",
    '<img src=a alt="WORD">',
    "<map><area alt=WORD></map>",
    "<ruby>x<rt>WORD</rt></ruby>",
    "<svg><text>WORD</text></svg>",
    "<svg><title>WORD</title></svg>",
    "<svg><foreignObject><p>WORD</p></foreignObject></svg>",
    "<math><mi>WORD</mi></math>",
    "<dialog open>WORD</dialog>",
    "<div role=heading>WORD</div>",
    "<x-a><template shadowrootmode=open>WORD</template></x-a>",
    "<header>WORD</header>",
    "<p>x<br>WORD",
    "<p hidden>x</p>WORD",
    "<b>x<p>y</b> WORD",
    "<p>x</div></p></b>WORD",
    "<!-- x -- > -->WORD",
    "<a href='x''>WORD</a>",
    '<p title="a > b">WORD',
    "<script>x</script>WORD",
    "<style>x</style>WORD",
    "<iframe src=a>x</iframe>WORD",
    "<template>x</template>WORD",
    "<?php echo 1 ?>WORD",
    "<br/>WORD",
    "x</body></html> WORD",
]
UNSEEN = [
    "<script>WORD</script>",
    "<style>WORD</style>",
    "<template>WORD</template>",
    "<div hidden>WORD</div>",
    "<div hidden><div>x</div>WORD</div>",
    '<div style="color:red; Display : none">WORD</div>',
    "<span style='visibility:hidden'>WORD</span>",
    "<dialog>WORD</dialog>",
    "<!-- WORD -->",
    "<input type=hidden value=WORD>",
    "<input type=password value=WORD>",
    "<svg><defs><text>WORD</text></defs></svg>",
    "<math><annotation>WORD</annotation></math>",
    "<ruby>x<rp>WORD</rp></ruby>",
    "<nav><a href=a>WORD</a></nav>",
    "<div role=navigation>WORD</div>",
    "<div role=banner>WORD</div>",
    "<div role=search>WORD</div>",
    "<div role=contentinfo>WORD</div>",
    "<footer><a href=a>WORD</a></footer>",
    '<img alt="" src="data:image/png;base64,WORD">',
]


def page(bodies: list[str]) -> str:
    """Put each body on a page, with a number behind its word."""
    numbered = (body.replace("WORD", f"word{n}") for n, body in enumerate(bodies))
    return "<p>begin</p>" + "".join(f"<div>{body}</div>" for body in numbered)


@pytest.mark.parametrize("body", SEEN)
def test_what_is_seen_comes_once(body: str) -> None:
    found = text(f"<p>begin</p><main>{body.replace('WORD', 'whale')}</main><p>end</p>")
    assert len(re.findall(r"\bwhale\b", found)) == 1
    assert found.startswith("begin")
    if "</body>" not in body:
        assert found.endswith("end")


def test_what_is_seen_comes_once_in_its_order_on_one_page() -> None:
    bodies = [body for body in SEEN if "</body>" not in body]
    words = re.findall(r"\bword\d+\b", text(page(bodies)))
    assert Counter(words) == Counter(f"word{n}" for n in range(len(bodies)))
    # Names of columns stand before their cells, which changes nothing here.
    assert words == sorted(words, key=lambda word: int(word[4:]))


@pytest.mark.parametrize("body", UNSEEN)
def test_what_nobody_sees_or_asks_for_is_left_out(body: str) -> None:
    found = text(f"<html><body><p>begin</p>{body.replace('WORD', 'whale')}<p>end</p></body></html>")
    assert "whale" not in found
    assert found.startswith("begin") and found.endswith("end")


def test_headings_make_paths() -> None:
    draft = read("<h1>A <em>b</em></h1><p>one</p><h2>C</h2><p>two</p><h3>D</h3>x<h2>E</h2><p>three")
    assert draft.text.startswith("# A b\n\none\n\n## C\n\ntwo")
    places = [
        mark_at(draft.marks, draft.text, draft.text.index(w)) for w in ("one", "two", "three")
    ]
    assert [in_words(place) for place in places] == ['"A b"', '"A b > C"', '"A b > E"']


def test_a_heading_that_is_not_closed_ends_where_text_begins() -> None:
    assert text("<h1>Fares<p>It costs 14.<p>Or 15.") == "# Fares\n\nIt costs 14.\n\nOr 15."


def test_lists() -> None:
    body = (
        "<ul><li>one<ul><li>inner</ul><li><p>two</p><p>more</p></ul>"
        "<ol start=3><li>three<li value=7>seven<li>eight</ol><ol type=a><li>x</ol>"
        "<ol reversed><li>y</ol><dl><dt>Fee:<dd>14<dd>or 15<dt>Day<dd>Monday</dl>"
    )
    assert [line for line in text(body).split("\n") if line] == [
        *("- one", "  - inner", "- two", "  more", "3. three", "7. seven", "8. eight"),
        *("a. x", "- y", "- Fee: 14", "  or 15", "- Day: Monday"),
    ]


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        (
            "<tr><th>Team<th>Cups<tr><td>Leafs<td>13<tr><td>Habs<td>24",
            "Team: Leafs; Cups: 13\nTeam: Habs; Cups: 24",
        ),
        ("<thead><tr><td>Team<td>Cups</thead><tr><td>Leafs<td>13", "Team: Leafs; Cups: 13"),
        (
            "<tr><td><b>Team</b><td><strong>Cups</strong><tr><td>Leafs<td>13",
            "Team: Leafs; Cups: 13",
        ),
        (
            "<tr><td>Adult<td>14 crowns<tr><td>Child<td>7 crowns",
            "Adult: 14 crowns\nChild: 7 crowns",
        ),
        ("<tr><th>Area<td>30<tr><th>People<td>7", "Area: 30\nPeople: 7"),
        ("<tr><th><th>2030<th>2031<tr><th>Fares<td>1<td>2", "Fares; 2030: 1; 2031: 2"),
        (
            "<tr><th colspan=2>2030<th colspan=2>2031<tr><th>Q1<th>Q2<th>Q1<th>Q2"
            "<tr><td>1<td>2<td>3<td>4",
            "2030 Q1: 1; 2030 Q2: 2; 2031 Q1: 3; 2031 Q2: 4",
        ),
        (
            "<tr><th>Day<th>Hour<tr><td rowspan=2>Monday<td>9<tr><td>10",
            "Day: Monday; Hour: 9\nDay: Monday; Hour: 10",
        ),
        (
            "<tr><th>A<th>B<tr><td>1<td>2<tr><th colspan=2>Later<tr><td>3<td>4",
            "A: 1; B: 2\n\nLater\n\nA: 3; B: 4",
        ),
        ("<tr><th>A<th>B<tr><td>1<td>2<tr><th>C<th>D<tr><td>3<td>4", "A: 1; B: 2\n\nC: 3; D: 4"),
        (
            "<tr><th>Who<th>When<tr><td><ul><li>Bo<li>Ines</ul><td>a<br>b",
            "Who: Bo, Ines; When: a b",
        ),
    ],
)
def test_tables_become_lines_that_name_their_columns(rows: str, expected: str) -> None:
    assert text(f"<table>{rows}</table>") == expected


@pytest.mark.parametrize(
    "table",
    [
        "<tr><td>one<tr><td>two<tr><td>three",
        "<tr><td><table><tr><td>one</table><td>two<td>three",
        "<tr><td><h3>one</h3><p>two</p><td>three",
        "<tr><td><p>one</p><p>two</p><td>three",
    ],
)
def test_a_table_that_only_places_texts_is_text(table: str) -> None:
    assert re.sub("#+ ", "", text(f"<table>{table}</table>")) == "one\n\ntwo\n\nthree"
    assert "one\n\ntwo" in text(f"<table role=presentation><tr><td>one<td>two</table>{table}")


def test_code_stays_as_it_is() -> None:
    body = '<pre class="a language-py"><code>def f():\n    return <b>1</b> &lt; 2<br>x</code></pre>'
    assert text(body) == "```py\ndef f():\n    return 1 < 2\nx\n```"
    assert text("<pre><div>one</div><div>  two</div></pre>") == "```\none\n  two\n```"


def test_forms_say_what_is_filled_in() -> None:
    body = (
        "<form><label>Name <input value='Bo Lund'></label><label><input type=radio checked> Yes"
        "</label> <label><input type=radio> No</label> <select><option>S<option selected>M</select>"
    )
    assert text(body) == "Name: Bo Lund [x] Yes [ ] No S, [x] M"


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("a&nbsp;b &amp;lt; &euro;3", "a b &lt; €3"),
        ("Hafen&shy;meister w<wbr>ord", "Hafenmeister word"),
        ("one<br>two<br><br>three", "one\ntwo\n\nthree"),
        ("one\n  two\t three", "one two three"),
        ("10<sup>6</sup> m<sup>2</sup> 1<sup>st</sup> H<sub>2</sub>O", "10^6 m^2 1st H2O"),
        ("<ruby>駅<rp>(</rp><rt>えき</rt><rp>)</rp></ruby>", "駅(えき)"),
        ("now <s>20</s> <q>14</q>", 'now ~~20~~ "14"'),
        ("<math><mfrac><mn>1</mn><mn>2</mn></mfrac></math>", "1 / 2"),
        ("<a href='mailto:bo%40skarn.example?subject=x'>write</a>", "write (bo@skarn.example)"),
        ("<a href='mailto:bo@skarn.example'>bo@skarn.example</a>", "bo@skarn.example"),
        ("<a href='https://skarn.example'>here</a>", "here"),
        ("one<button>two</button>three", "one two three"),
        ("w<b>o</b>rd", "word"),
    ],
)
def test_within_a_line(body: str, expected: str) -> None:
    assert text(f"<p>{body}</p>") == expected


def test_data_in_the_text_is_left_out_and_said() -> None:
    draft = read(f"<p>See data:image/png;base64,{'iVBORw0KGgo' * 40} here.</p>")
    assert len(draft.text) < 40
    assert draft.text.startswith("See ") and draft.text.endswith(" here.")
    assert draft.remarks == ["has pictures or other data in its text, left out"]


def test_a_menu_is_kept_where_it_is_all_there_is_or_holds_a_text() -> None:
    assert text("<nav><a href=a>Home</a></nav>") == "Home"
    answer = "The answer to every question below is YES! Write to us if yours is not among them."
    assert answer in text(f"<nav><p>{answer}</p><a href=a>Home</a></nav><p>x</p>")


@pytest.mark.parametrize(
    ("page", "title"),
    [
        ("<title> The &amp;\n Fares </title><h1>x</h1>", "The & Fares"),
        ("<title></title><meta property=og:title content=Shared><h1>x</h1>", "Shared"),
        ("<svg><title>Logo</title></svg><h2>The <i>fares</i></h2>", "The fares"),
        ("<p>x", None),
    ],
)
def test_titles(page: str, title: str | None) -> None:
    assert read(page).title == title


XHTML = (
    '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head>'
    "<title/><script src='x.js'/><style/></head><body>{}</body></html>"
)


@pytest.mark.parametrize(
    "element", ["script", "title", "a id='x'", "div", "p", "textarea", "iframe", "b", "style", "td"]
)
def test_xhtml_elements_can_close_themselves(element: str) -> None:
    for name in ("a.html", "a.xhtml"):
        page = XHTML.format(f"<p>One.</p><{element}/><p>Two.</p>")
        assert read(page, name).text == "One.\n\nTwo."


def test_xhtml_has_marked_sections_entities_and_prefixes() -> None:
    page = XHTML.format("<p><![CDATA[a < b & c]]> &boat;<br/>d</p>")
    page = page.replace("<html", '<!DOCTYPE html [\n<!ENTITY boat "ferry">\n]><html')
    assert text(page) == "a < b & c ferry\nd"
    prefixed = (
        '<h:html xmlns:h="http://www.w3.org/1999/xhtml"><h:body><h:h1>One</h:h1><h:p>two</h:p>'
        "</h:body></h:html>"
    )
    assert read(prefixed, "a.xhtml").text == "# One\n\ntwo"


def test_pages_of_frames_say_what_they_say_without() -> None:
    page = "<frameset><frame src=a><noframes><body><p>One.</p></body></noframes></frameset>"
    assert text(page) == "One."


def test_the_source_of_a_site_is_filled_in_from_its_front_matter() -> None:
    draft = read("---\ntitle: 'The Venue'\nlayout: base\n---\n<h1>{{ page.title }}</h1><p>x</p>")
    assert draft.title == "The Venue"
    assert draft.text.startswith("title: 'The Venue'\nlayout: base\n\n# ")


@pytest.mark.parametrize(
    "page",
    [
        "<p " + " ".join(f"a{n}=1" for n in range(50_000)) + ">whale",
        "<p " + " ".join(f"a{n}='x y'" for n in range(50_000)) + ">whale",
        "<div>" * 20_000 + "whale",
        "<table><tr><td>" * 5_000 + "whale",
        "<ul><li>" * 5_000 + "whale",
        "<blockquote><b>" * 5_000 + "whale",
        "<sup>" * 20_000 + "whale",
        "<input>" * 20_000 + "whale",
        "<table><tr><td rowspan=9999>x<td>y" + "<tr><td>z" * 5_000 + "</table>whale",
        "<table><tr><th>a<th>b" + "<tr><td colspan=9999>z" * 5_000 + "</table>whale",
        "<table><tr>"
        + f"<th>{'x' * 90}" * 1_000
        + ("<tr>" + "<td>y" * 1_000) * 9
        + "</table>whale",
    ],
)
def test_hostile_pages_are_read_in_bounded_space(page: str) -> None:
    found = text(page)
    assert "whale" in found
    assert len(found) < 4 * len(page) + 200_000


@pytest.mark.parametrize("tag", ["script src=a", "style", "title", "textarea", "iframe src='a'"])
def test_a_tag_that_ends_as_in_xml_and_never_again_swallows_nothing(tag: str) -> None:
    assert "ferry" in text(f"<p>begin<{tag} /><p>The ferry leaves.<{tag}/><p>end")


def test_a_tag_that_is_closed_later_is_open() -> None:
    assert text("<p>begin<script a />let x</script><p>end") == "begin\n\nend"


def test_the_page_in_a_frame_is_read() -> None:
    inner = '<iframe title=a srcdoc="&lt;p>The &quot;ferry&quot;"></iframe>'
    assert text(f"<p>begin{inner}<p>end") == 'begin\n\nThe "ferry"\n\nend'


def test_a_footer_of_words_is_no_menu() -> None:
    assert text("<p>begin</p><footer>Call 4471. <a href=a>Top</a></footer>") == (
        "begin\n\nCall 4471. Top"
    )


def test_what_a_search_on_the_page_finds_is_not_hidden() -> None:
    assert text("<p hidden=until-found>ferry</p><p hidden>gone</p>") == "ferry"
