from __future__ import annotations

import base64
from email.message import EmailMessage
from textwrap import dedent

import pytest

from maccli.reading.draft import Draft
from maccli.reading.encodings import Refused
from maccli.reading.formats import mail
from store.marks import in_words, mark_at


def read_part(data: bytes, name: str) -> Draft:
    """Read .txt only, each as on page 1; .bad ends the reader."""
    if name.endswith(".bad"):
        raise KeyError("bug")
    if not name.endswith(".txt"):
        raise Refused("is a binary file")
    draft = Draft()
    draft.place("page 1")
    draft.paragraph(data.decode())
    return draft


def read(raw: str | bytes | EmailMessage) -> Draft:
    data = raw.encode() if isinstance(raw, str) else raw
    return mail.read(data if isinstance(data, bytes) else data.as_bytes(), "a.eml", read_part)


def places(draft: Draft, *words: str) -> list[str]:
    return [in_words(mark_at(draft.marks, draft.text, draft.text.index(word))) for word in words]


def message(text: str = "Hello.") -> EmailMessage:
    made = EmailMessage()
    made["From"] = '"Ines Okafor" <ines@ferry.example>'
    made["To"] = "Bo <bo@skarn.example>, all@skarn.example"
    made["Date"] = "Mon, 03 Mar 2031 10:00:07 +0100"
    made["Subject"] = "Fares of the ferry"
    made.set_content(text)
    return made


def test_a_mail_says_who_wrote_to_whom_and_when() -> None:
    draft = read(message())
    assert draft.text == dedent("""\
        From: Ines Okafor <ines@ferry.example>
        To: Bo <bo@skarn.example>, all@skarn.example
        Date: Mon, 3 Mar 2031 10:00 +0100
        Subject: Fares of the ferry

        Hello.""")
    assert draft.title == "Fares of the ferry"
    assert draft.remarks == []


@pytest.mark.parametrize(
    ("raw", "expected"),
    [
        ("=?utf-8?Q?F=C3=A4hre?= nach Skarn", "Fähre nach Skarn"),
        ("=?UTF-8?B?RsOkaHJl?=\n =?utf-8?q?_nach?= Skarn", "Fähre nach Skarn"),
        ("=?utf-8?q?caf=C3?= =?utf-8?q?=A9?=", "café"),  # a letter cut in two
        ("=?latin1?q?=93Heron=94?=", "“Heron”"),
        ("=?utf-8*de?q?F=C3=A4hre?=", "Fähre"),
        ("=?iso-2022-jp?B?GyRCIVYbKEI=?=", "「"),
        ("=?klingon?q?x?=", "x"),
        ("plain\tand\n folded", "plain and folded"),
        ("Fähre", "Fähre"),
        ("=?utf-8?q?a=0D=0AFrom:_b?=", "a From: b"),
        ("=?utf-8?b?!!?=", ""),
    ],
)
def test_headers_are_decoded(raw: str, expected: str) -> None:
    draft = read(f"Subject: {raw}\nFrom: a@b.c\n\nText.")
    assert draft.title == (expected or None)
    assert draft.text.count("From:") == 1 + expected.count("From:")
    assert "\nFrom: b" not in draft.text


def test_long_lists_of_receivers_are_cut_and_said_so() -> None:
    people = ", ".join(f"someone.{n}@example.org" for n in range(1000))
    draft = read(f"To: {people}\n\nText.")
    assert "someone.0@example.org, someone.1@" in draft.text
    assert " more\n" in draft.text
    assert len(draft.text) < 4000


def test_only_the_first_of_many_headers_counts() -> None:
    many = "".join(f"X-{n}: y\n" for n in range(20_000))
    draft = read(f"Subject: one\nSubject: two\n{many}\nText.")
    assert draft.text == "Subject: one\n\nText."


def test_the_text_comes_once() -> None:
    made = message("The adult fare is 14 crowns.")
    made.add_alternative("<p>The adult fare is <b>14 crowns</b>.</p>", subtype="html")
    assert read(made).text.count("14 crowns") == 1


@pytest.mark.parametrize(
    "stub",
    [
        "",
        "This is an HTML mail.",
        "Your client does not support HTML.",
        "View this in a browser: x",
    ],
)
def test_a_page_is_read_where_the_text_says_nothing(stub: str) -> None:
    made = message(stub)
    page = "<h1>Fares</h1><table><tr><th>Who<th>Fare<tr><td>Adult<td>14 crowns</table>"
    made.add_alternative(page, subtype="html")
    draft = read(made)
    assert "Who: Adult; Fare: 14 crowns" in draft.text
    assert places(draft, "Adult") == ['"Fares"']
    assert not stub or stub not in draft.text


def test_a_page_that_says_much_more_than_the_text_is_read() -> None:
    made = message("Dear Bo, here is the news of the harbour.")
    made.add_alternative("<p>" + "Something new has come. " * 100 + "</p>", subtype="html")
    assert read(made).text.count("Something new") == 100


def test_quotations_are_marked() -> None:
    made = message(
        "Yes.\n\nOn Fri, 8 May 2026 at 19:01, Jana Wolff\n<jana@x.example> wrote:\n"
        "> Is it nine?\n>\n> Or ten?\n\nNine.\n"
    )
    assert read(made).text.endswith("wrote:\nQuoted:\n> Is it nine?\n>\n> Or ten?\n\nNine.")


@pytest.mark.parametrize(
    "above",
    [
        "-----Original Message-----\nFrom: Jana\nSent: Monday",
        "From: Jana Wolff\nSent: Friday, 8 May 2026\nTo: Bo",
        "*Von:* Jana Wolff\n*Gesendet:* Freitag, 8. Mai 2026",
        "On Fri, 8 May 2026, Jana Wolff wrote:",
        "Am 08.05.2026 um 19:01 schrieb Jana Wolff:",
        "Le 8 mai 2026 à 19:01, Jana Wolff a écrit :",
    ],
)
def test_what_is_answered_without_signs_is_marked_to_the_end(above: str) -> None:
    text = read(message(f"Yes, nine.\n\n{above}\n\nIs it nine?\n\nJana")).text
    own, _, quoted = text.partition("Quoted:\n")
    assert "Yes, nine." in own
    assert quoted.endswith("> Is it nine?\n>\n> Jana")


def test_what_is_handed_on_is_no_answer() -> None:
    raw = "Subject: Fwd: Fares\n\nSee below.\n\nFrom: Jana\nSent: Friday\n\nIt costs 14."
    assert read(raw).text.endswith("From: Jana\nSent: Friday\n\nIt costs 14.")


def test_quotations_of_pages_are_marked() -> None:
    made = message("")
    made.set_content(
        "<div>Nine.</div><div>On Fri, 8 May 2026, Jana wrote:</div>"
        "<blockquote><p>Is it nine?</p><p>Or<br>ten?</p></blockquote><p>Bo</p>",
        subtype="html",
    )
    end = "wrote:\n\nQuoted:\n> Is it nine?\n\n> Or\n> ten?\n\nBo"
    assert read(made).text.endswith(end)


def test_attachments_are_named_and_read() -> None:
    made = message()
    made.add_attachment(b"At nine.", maintype="application", subtype="x", filename="plän.txt")
    made.add_attachment(b"\0", maintype="application", subtype="x", filename="a/b.bin")
    made.add_attachment(b"\0", maintype="application", subtype="x", filename="c.bad")
    made.add_attachment(b"\0", maintype="image", subtype="png", filename="d.png")
    draft = read(made)
    for name in ("plän.txt", "b.bin", "c.bad", "d.png"):
        assert f"\nAttachment: {name}\n" in draft.text
    assert places(draft, "Hello", "At nine.") == ["", 'attachment "plän.txt", page 1']
    assert draft.remarks == [
        'attachment "b.bin" is a binary file',
        "attachment \"c.bad\" cannot be read (KeyError: 'bug')",
    ]


def test_pictures_in_the_text_are_named_once() -> None:
    made = message("Look:")
    made.add_alternative('<p>Look: <img src="cid:x" alt="our cat"></p>', subtype="html")
    page = made.get_payload(1)
    assert isinstance(page, EmailMessage)
    page.add_related(b"PNG", "image", "png", cid="<x>", filename="cat.png")
    text = read(made).text
    assert text.count("Picture: cat.png") == 1
    assert "Attachment" not in text


def test_a_mail_in_a_mail_is_read() -> None:
    made = message("See below.")
    inner = message("The fare is 14 crowns.")
    inner.add_attachment(b"At nine.", maintype="text", subtype="plain", filename="plan.txt")
    made.add_attachment(inner)
    draft = read(made)
    assert draft.text.count("From: Ines Okafor") == 2
    assert places(draft, "14 crowns", "At nine") == [
        '"Fares of the ferry", forwarded message',
        'forwarded message, attachment "plan.txt", page 1',
    ]


def test_mails_in_mails_end_somewhere() -> None:
    made = message("innermost")
    for number in range(10):
        outer = message(f"level {number}")
        outer.add_attachment(made)
        made = outer
    draft = read(made)
    assert "level 9" in draft.text
    assert "innermost" not in draft.text
    assert any("too many messages" in remark for remark in draft.remarks)


@pytest.mark.parametrize(
    ("head", "body", "expected"),
    [
        ("text/plain; charset=utf-8", "“Heron”".encode(), "“Heron”"),
        ("text/plain; charset=latin1", "“Heron”".encode("cp1252"), "“Heron”"),
        ("text/plain; charset=latin1", "“Heron”".encode(), "“Heron”"),
        ("text/plain; charset=us-ascii", "“Heron”".encode(), "“Heron”"),
        ("text/plain; charset=utf-8", "café – 3 €".encode("cp1252"), "café – 3 €"),
        ("text/plain; charset=iso-8859-2", "„Żółta” łąka".encode("cp1250"), "„Żółta” łąka"),
        ("text/plain; charset=utf-16", "café".encode("utf-16"), "café"),
        ("text/plain; charset=klingon", "café".encode(), "café"),
        ("text/plain; charset=utf-7", b"caf+AOk-", "café"),
        ("text/plain; charset=iso-2022-jp", "「駅」".encode("iso2022_jp"), "「駅」"),
        ("text/plain; charset=shift_jis", "①駅".encode("cp932"), "①駅"),
        ("text/plain", "Größe".encode(), "Größe"),
        ("text/html", '<meta charset="iso-8859-2"><p>kůň'.encode("iso-8859-2"), "kůň"),
        ("nonsense", b"Still read.", "Still read."),
    ],
)
def test_charsets(head: str, body: bytes, expected: str) -> None:
    assert expected in read(f"Content-Type: {head}\n\n".encode() + body).text


@pytest.mark.parametrize(
    ("transfer", "body"),
    [
        ("quoted-printable", b"The fare =\nis 14=20crowns, caf=C3=A9."),
        ("base64", base64.encodebytes("The fare is 14 crowns, café.".encode())),
        ("base64", base64.b64encode("The fare is 14 crowns, café.".encode())[:-1]),
        ("8bit", "The fare is 14 crowns, café.".encode()),
    ],
)
def test_transfer_encodings(transfer: str, body: bytes) -> None:
    head = f"Content-Type: text/plain; charset=utf-8\nContent-Transfer-Encoding: {transfer}\n\n"
    assert read(head.encode() + body).text == "The fare is 14 crowns, café."


def test_flowed_lines_are_joined() -> None:
    head = "Content-Type: text/plain; format=flowed"
    raw = f"{head}\n\nThe fare \nis 14 \ncrowns.\n\n> Is \n> it?\n From."
    assert read(raw).text == "The fare is 14 crowns.\n\nQuoted:\n> Is it?\nFrom."


def test_invitations() -> None:
    made = message("")
    made.clear_content()
    made["Content-Type"] = "text/calendar; charset=utf-8; method=REQUEST"
    made.set_payload(
        dedent("""\
        BEGIN:VCALENDAR
        BEGIN:VTIMEZONE
        DTSTART:19700101T000000
        END:VTIMEZONE
        BEGIN:VEVENT
        SUMMARY:Harbour\\, the
         plan
        DTSTART;TZID=Europe/Oslo:20310303T100000
        DTEND:20310303T110000Z
        LOCATION:Room 3
        ORGANIZER;CN=Ines:mailto:ines@ferry.example
        BEGIN:VALARM
        DESCRIPTION:Reminder
        END:VALARM
        END:VEVENT
        END:VCALENDAR
        """)
    )
    assert read(made).text.endswith(
        "Event: Harbour, theplan; Date: Mon, 3 Mar 2031; Starts: 10:00 (Europe/Oslo); "
        "Ends: 11:00 (UTC); Place: Room 3; Organizer: Ines <ines@ferry.example>"
    )


def test_signatures_are_no_text() -> None:
    raw = dedent("""\
        Content-Type: multipart/signed; boundary=b

        --b
        Content-Type: text/plain

        Signed text.
        --b
        Content-Type: application/pgp-signature; name="signature.asc"

        iQEzBAEBCAAdFiEE
        --b--
        """)
    assert read(raw).text == "Signed text."
    inline = (
        "\n-----BEGIN PGP SIGNED MESSAGE-----\nHash: SHA256\n\nSigned.\n"
        "-----BEGIN PGP SIGNATURE-----\niQEzB\n-----END PGP SIGNATURE-----\n"
    )
    assert read(f"Subject: s\n{inline}").text == "Subject: s\n\nSigned."


@pytest.mark.parametrize(
    ("kind", "remark"),
    [
        ("application/ms-tnef; name=winmail.dat", "Outlook's own format"),
        ("application/pkcs7-mime; name=smime.p7m", "encrypted or sealed"),
        ("multipart/encrypted; boundary=x", "is encrypted"),
    ],
)
def test_what_is_sealed_is_said(kind: str, remark: str) -> None:
    draft = read(f"Subject: s\nContent-Type: {kind}\n\nabc")
    assert draft.text == "Subject: s"
    assert len(draft.remarks) == 1 and remark in draft.remarks[0]


def test_broken_parts_are_read_as_far_as_they_go() -> None:
    part = "--b\nContent-Type: text/plain\n\nThe fare is 14 crowns.\n"
    cut = read(f"Content-Type: multipart/mixed; boundary=b\n\n{part}")
    assert cut.text == "The fare is 14 crowns."
    unsaid = read(f"Content-Type: multipart/mixed\n\n{part}--b--")
    assert unsaid.text == "The fare is 14 crowns."
    wrong = read("Content-Type: multipart/mixed; boundary=other\n\nJust text.")
    assert wrong.text == "Just text."
    deep = "".join(f"Content-Type: multipart/mixed; boundary=b{n}\n\n--b{n}\n" for n in range(1500))
    assert read(deep + "\ninnermost").text


def test_returned_mail_says_why() -> None:
    raw = dedent("""\
        Content-Type: multipart/report; boundary=b

        --b

        Sorry.
        --b
        Content-Type: message/delivery-status

        Reporting-MTA: dns; ferry.example

        Final-Recipient: rfc822; bo@skarn.example
        Status: 5.1.1
        --b--
        """)
    text = read(raw).text
    assert "Sorry." in text and "Status: 5.1.1" in text


MBOX = dedent("""\
    From ines@ferry.example Sat Mar  7 10:12:44 2026
    From: Ines <ines@ferry.example>
    Subject: Fares

    The fare is 14 crowns.
    >From Monday on it is 15.
    From here on it is cheaper.

    From - Sun Mar 08 11:00:00 2026
    X-Mozilla-Status: 0009
    Subject: Gone

    Deleted.

    From bo@skarn.example Mon Mar  9 07:55:19 2026
    Subject: =?utf-8?q?F=C3=A4hre?=

    Thanks.
    """)


@pytest.mark.parametrize("line_end", ["\n", "\r\n"])
def test_a_mailbox_is_its_mails(line_end: str) -> None:
    data = MBOX.replace("\n", line_end).encode()
    draft = mail.read_mbox(data, "a.mbox", read_part)
    assert draft.text.startswith("# Fares\n\nFrom: Ines <ines@ferry.example>\nSubject: Fares\n\n")
    assert "\nFrom Monday on it is 15.\nFrom here on it is cheaper." in draft.text
    assert places(draft, "14 crowns", "Thanks") == ['"Fares", message 1', '"Fähre", message 2']
    assert draft.remarks == ["leaves out 1 deleted message"]
    assert "Deleted." not in draft.text


def test_a_mailbox_without_dates_and_one_that_is_a_mail() -> None:
    plain = b"From a@b.c\nSubject: x\n\nOne.\n\nFrom d@e.f\nSubject: y\n\nTwo.\n"
    draft = mail.read_mbox(plain, "a.mbox", read_part)
    assert places(draft, "One.", "Two.") == ['"x", message 1', '"y", message 2']
    single = mail.read_mbox(b"Subject: x\n\nOne.", "a.mbox", read_part)
    assert places(single, "One.") == ['"x", message 1']


def test_attachments_in_a_mailbox_know_their_mail() -> None:
    made = message()
    made.add_attachment(b"At nine.", maintype="application", subtype="x", filename="plan.txt")
    data = b"From a Sat Mar  7 10:12:44 2026\n" + made.as_bytes()
    draft = mail.read_mbox(data, "a.mbox", read_part)
    assert places(draft, "At nine.") == ['message 1, attachment "plan.txt", page 1']
