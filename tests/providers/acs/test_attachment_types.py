from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parse import Attachment
from smtprelay.providers.acs.attachment_types import MAX_FILE_NAME, attached
from smtprelay.providers.json_mail import Corrections
from tests.mime.linear import LIMIT, growth
from tests.steps import counted


def part(
    name: str = "p.png", kind: str = "image/png", content_id: str = "", content: bytes = b"eA=="
) -> Attachment:
    return Attachment(name, kind, content, content_id)


def sent(
    *parts: Attachment, html: str = "", **options: bool
) -> tuple[list[Attachment], str, list[tuple[str, str]]]:
    corrections = Corrections()
    found, shown = attached(parts, html, corrections, **options)
    return found, shown, list(corrections.notes)


def ids(html: str, *given: str) -> list[str]:
    """Return the content ids that parts with these are sent with."""
    return [each.content_id for each in sent(*(part(content_id=one) for one in given), html=html)[0]]


class TypeTests(SynchronousTestCase):
    def kind(self, name: str, given: str) -> str:
        return sent(part(name, given))[0][0].content_type

    def test_by_extension(self):
        """A type that says nothing, or the wrong thing, is told by the name."""
        for name, given, expected in (
            ("scan.PDF", "application/octet-stream", "application/pdf"),
            ("a.csv", "application/vnd.ms-excel", "text/csv"),
            ("a.zip", "application/x-zip-compressed", "application/zip"),
            ("a.jpg", "image/jpg", "image/jpeg"),
            ("a.xlsm", "*/*", "application/vnd.ms-excel.sheet.macroEnabled.12"),
            ("a.txt", "text/plain>", "text/plain"),
            ("a.txt", "text/html", "text/plain"),
            ("a.pdf", "", "application/pdf"),
        ):
            self.assertEqual(self.kind(name, given), expected)

    def test_by_what_the_mail_says(self):
        """Where the name says nothing the mail's own type goes, by the service's name for it."""
        for given, expected in (
            ("application/pdf", "application/pdf"),
            ("image/pjpeg", "image/jpeg"),
            ("audio/x-wav", "audio/wav"),
            ("text/xml", "application/xml"),
            (
                "application/vnd.ms-excel.sheet.macroenabled.12",
                "application/vnd.ms-excel.sheet.macroEnabled.12",
            ),
        ):
            self.assertEqual(self.kind("Report 1.2", given), expected)

    def test_what_the_service_does_not_know(self):
        """It goes as octets, which is told; the name is as it was."""
        for name, given in (
            ("mail.eml", "message/rfc822"),
            ("smime.p7s", "application/pkcs7-signature"),
            ("page.html", "text/html"),
            ("a", "application/octet-stream name=a.csv"),
            ("a", "no type"),
        ):
            [found], _, notes = sent(part(name, given))
            self.assertEqual((found.name, found.content_type), (name, "application/octet-stream"))
            self.assertEqual(notes[0][0], "attachments.contentType")
        self.assertEqual(sent(part("a.qqq", "application/octet-stream"))[2], [])


class NameTests(SynchronousTestCase):
    def name(self, given: str, kind: str = "application/pdf") -> str:
        return sent(part(given, kind))[0][0].name

    def test_names(self):
        """A name is one that every system takes, with its extension; umlauts and blanks stay."""
        for given, expected in (
            ("Prüf bericht.pdf", "Prüf bericht.pdf"),
            ("Invoice 1/2.pdf", "Invoice 1_2.pdf"),
            ("C:\\tmp\\a?.pdf", "a_.pdf"),
            ("a\r\nb\0.pdf", "ab.pdf"),
            ("cod\u202efdp.exe", "codfdp.exe"),
            ("a\ud800.pdf", "a.pdf"),
            (".", "attachment-1.pdf"),
            ("", "attachment-1.pdf"),
            ("\0", "attachment-1.pdf"),
        ):
            self.assertEqual(self.name(given), expected)

    def test_long_names(self):
        """They are cut before their extension."""
        for given in ("x" * 300 + ".pdf", "x" * 100_000 + ".pdf", "ü" * 1000 + ".pdf"):
            name = self.name(given)
            self.assertTrue(name.endswith(".pdf"))
            self.assertLessEqual(len(name), MAX_FILE_NAME)
        self.assertLessEqual(len(self.name("." + "x" * 100_000)), MAX_FILE_NAME)
        self.assertLessEqual(len(self.name("x." * 100_000)), MAX_FILE_NAME)

    def test_plain_names(self):
        """Where the service does not like a name they are numbered."""
        found, _, _ = sent(part("ä.pdf", "application/pdf"), part("b", "image/jpg"), plain_names=True)
        self.assertEqual([each.name for each in found], ["attachment-1.pdf", "attachment-2.jpg"])

    def test_empty_files(self):
        """The service takes no file without content: one line end goes, and it is told."""
        [found], _, notes = sent(part("a.txt", "text/plain", content=b""))
        self.assertEqual(found.base64, b"Cg==")
        self.assertEqual(notes[0][0], "attachments.contentInBase64")


class ContentIdTests(SynchronousTestCase):
    def test_shown(self):
        """A content id is kept once, and only where the HTML shows the part."""
        self.assertEqual(ids('<img src="cid:a">', "a", "a", "b", ""), ["a", "", "", ""])
        self.assertEqual(ids("", "a"), [""])

    def test_spellings(self):
        """A reference is read as HTML and RFC 2392 do: entities, percent-encoding, the scheme in any case."""
        for html in (
            '<img src="cid:a&amp;b@x">',
            "<img src='CID:a&#38;b%40x'>",
            "<img src=Cid:a&#x26;b@x>",
            '<img src="cid:%61%26b@x"/>',
            '<td background=" cid:a&amp;b@x ">',
            "<td style='background:url(cid:a&amp;b@x)'>",
            '<td style="background:url(&quot;cid:a&amp;b@x&quot;)">',
            "<style>td { background: url('cid:a&amp;b@x') }</style>",
            '<img srcset="cid:a&amp;b@x 2x">',
        ):
            self.assertEqual(ids(html, "a&b@x"), ["a&b@x"], html)

    def test_case_of_the_id(self):
        """Nobody can rely on it: the part gets the spelling of the HTML; two that differ in it stay apart."""
        self.assertEqual(ids('<img src="cid:Logo@X">', "logo@x"), ["Logo@X"])
        found, html, _ = sent(
            part(content_id="logo"), part(content_id="LOGO"), html='<img src="cid:LOGO"><img src="cid:logo">'
        )
        self.assertEqual([each.content_id for each in found], ["part-1", "LOGO"])
        self.assertEqual(html, '<img src="cid:LOGO"><img src="cid:part-1">')

    def test_an_id_that_begins_like_another(self):
        """It is another one."""
        self.assertEqual(ids('<img src="cid:image10">', "image1", "image10"), ["", "image10"])
        self.assertEqual(ids('<img src="cid:image1">', "image1", "image10"), ["image1", ""])
        self.assertEqual(
            ids("<img src=cid:image1><p>cid:image10", "image1", "image10"), ["image1", "image10"]
        )

    def test_strange_ids(self):
        """What is no content id is renamed, in the part and wherever the HTML refers to it."""
        html = '<img src="cid:c%20d"> <img src="cid:Bücher"> <img src="cid:c d">'
        found, shown, notes = sent(part(content_id="c d"), part(content_id="Bücher"), html=html)
        self.assertEqual([each.content_id for each in found], ["part-1", "part-2"])
        self.assertEqual(shown, '<img src="cid:part-1"> <img src="cid:part-2"> <img src="cid:part-1">')
        self.assertEqual(notes, [("attachments.contentId", "renamed, with what refers to it")])

    def test_nothing_inline(self):
        """Where the service does not like the ids the parts are files beside the text."""
        found, html, _ = sent(part(content_id="a"), html='<img src="cid:a">', inline=False)
        self.assertEqual((found[0].content_id, html), ("", '<img src="cid:a">'))

    def test_strange_html(self):
        """No HTML makes it fail."""
        for html in (
            '"cid:',
            "cid:",
            "cid:&#0;&#xD800;&#99999;",
            "cid:%",
            "cid:%FF%",
            "'cid:" + " " * 5000,
            "cid:&;",
        ):
            self.assertEqual(ids(html, "a", "%", "\ufffd")[0], "")

    def test_linear(self):
        """A thousand parts in a long HTML, and text that is like a reference, take one pass."""
        for make in (
            lambda count: ("".join(f'<img src="cid:part{n}@x">' for n in range(count)), count),
            lambda count: ("cid:" * 40 * count, 1),
            lambda count: ('"cid:' + "x" * 30 * count, 1),
            lambda count: ('"cid:"' * 30 * count, 1),
            lambda count: ('" ' * 30 * count + "&" * count, 1),
        ):
            steps = [self.steps(*make(count)) for count in (250, 500)]
            self.assertLess(steps[1], 2.3 * steps[0] + 100)

    def test_linear_search(self):
        """The search in the HTML itself takes work in proportion to it, whatever it is made of."""

        def search(html: str) -> None:
            attached([part(content_id="a")], html, Corrections())

        for piece in ('"cid:', '"cid:"', "cid:&amp;%41", '"cid:xxx ', '"' + " " * 20, "cid:x("):
            with self.subTest(piece):
                self.assertLessEqual(
                    growth(search, lambda size, piece=piece: piece * (size // len(piece))), LIMIT
                )

    def steps(self, html: str, count: int) -> int:
        parts = [part(content_id=f"part{n}@x") for n in range(count)]
        return counted(lambda: attached(parts, html, Corrections()))
