"""Content-Type and Content-Disposition are read as they were meant, in linear time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.parameters import MAX_LENGTH, MAX_PARAMETERS, content_type, disposition
from tests.mime.linear import LIMIT, growth

TYPES = {
    # as the RFC says
    'TEXT/Html ; Charset = "UTF-8" (x; y=z) ; format=flowed': (
        "text/html",
        {"charset": "UTF-8", "format": "flowed"},
    ),
    "text/plain; charset=us-ascii (Plain text)": ("text/plain", {"charset": "us-ascii"}),
    'multipart/mixed; boundary="a b\\"c"': ("multipart/mixed", {"boundary": 'a b"c'}),
    "application/vnd.ms-excel.sheet.macroEnabled.12+x": (
        "application/vnd.ms-excel.sheet.macroenabled.12+x",
        {},
    ),
    # no semicolon, the wrong one, too many
    "text/html charset=utf-8": ("text/html", {"charset": "utf-8"}),
    "application/octet-stream name=a.csv": ("application/octet-stream", {"name": "a.csv"}),
    "text/html\tcharset=utf-8 format=flowed": ("text/html", {"charset": "utf-8", "format": "flowed"}),
    "text/plain, charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "text/plain: charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "text/html;;charset=utf-8;;": ("text/html", {"charset": "utf-8"}),
    # no type
    "*/*": ("application/octet-stream", {}),
    "*/*; name=a.csv": ("application/octet-stream", {"name": "a.csv"}),
    "/": ("application/octet-stream", {}),
    "ätext/plain": ("application/octet-stream", {}),
    "pdf": ("application/octet-stream", {}),
    "text": ("text/plain", {}),
    "text/": ("text/plain", {}),
    "text; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "multipart; boundary=x": ("multipart/mixed", {"boundary": "x"}),
    "charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "; name=x.pdf": ("application/octet-stream", {"name": "x.pdf"}),
    "": ("", {}),
    " ": ("", {}),
    # what stands on a type
    "text/plain>": ("text/plain", {}),
    "text/plain\x01": ("text/plain", {}),
    "text/plain>; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "text/plain\x01; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    '"text/plain"; charset="utf-8"': ("text/plain", {"charset": "utf-8"}),
    "<text/plain>": ("text/plain", {}),
    "text / plain; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    "text/plain/x; charset=utf-8": ("text/plain", {"charset": "utf-8"}),
    # of two with one name the first; a name without a value
    "text/plain; charset=utf-8; CHARSET=koi8-r": ("text/plain", {"charset": "utf-8"}),
    "text/plain; x; charset=utf-8; y": ("text/plain", {"charset": "utf-8"}),
    "text/plain; charset=": ("text/plain", {"charset": ""}),
    # a boundary is compared with octets: nothing in it is decoded
    "multipart/mixed; boundary==_?utf-8?q?a?=": ("multipart/mixed", {"boundary": "=_?utf-8?q?a?="}),
    'multipart/mixed; boundary="=?utf-8?q?a?="': ("multipart/mixed", {"boundary": "=?utf-8?q?a?="}),
    'multipart/mixed; boundary="\udcff"': ("multipart/mixed", {"boundary": "\udcff"}),
    "multipart/mixed; boundary*0=a; boundary*1=b": ("multipart/mixed", {"boundary": "ab"}),
}

#: Values of ``name`` or ``filename`` as they stand, and what they mean.
NAMES = {
    '"a.pdf"': "a.pdf",
    "a.pdf; size=3": "a.pdf",
    "My File (1).pdf; size=3": "My File (1).pdf",
    "My File.pdf size=3": "My File.pdf",
    "'my file.pdf'": "my file.pdf",
    "it's.pdf": "it's.pdf",
    "a=b.pdf": "a=b.pdf",
    '"a;b.pdf"': "a;b.pdf",
    '"say \\"hi\\".pdf"': 'say "hi".pdf',
    '"say "hi" now.pdf"; size=3': 'say "hi" now.pdf',
    '"C:\\scan\\new.pdf"': "C:\\scan\\new.pdf",
    '"C:\\\\scan\\\\new.pdf"': "C:\\scan\\new.pdf",
    '"\\\\server\\share\\new.pdf"': "\\server\\share\\new.pdf",
    '"C:\\scan\\"; size=3': "C:\\scan\\",
    "C:\\scan\\new.pdf": "C:\\scan\\new.pdf",
    '"open.pdf; size=3': "open.pdf",
    '"open.pdf': "open.pdf",
    '"=?utf-8?q?Pr=C3=BCf?= =?utf-8?q?ung=3B.pdf?="': "Prüfung;.pdf",
    "=?utf-8?q?Pr=C3=BCf?= =?utf-8?q?ung.pdf?=; size=3": "Prüfung.pdf",
    '"=?utf-8?q?Pr?=\t=?utf-8?q?=C3=BC?=f.pdf"': "Prüf.pdf",
    '"Pr\udcc3\udcbcf.pdf"': "Prüf.pdf",
    "Pr\udcfcf.pdf": "Prüf.pdf",
    '"Prüf.pdf"': "Prüf.pdf",
    '"a\x07\x00b.pdf"': "ab.pdf",
    '"a%20b.pdf"': "a%20b.pdf",
    '""': "",
}

#: All of a Content-Disposition, and its file name.
EXTENDED = {
    "attachment; filename=fallback.pdf; filename*=UTF-8''Pr%C3%BCf.pdf": "Prüf.pdf",
    "attachment; filename*=UTF-8''Pr%C3%BCf.pdf; filename=fallback.pdf": "Prüf.pdf",
    "attachment; filename*0=x; filename=fallback.pdf; filename*=UTF-8''Pr%C3%BCf.pdf": "Prüf.pdf",
    "attachment; filename=a.pdf; filename*0*=UTF-8''Pr%C3; filename*1*=%BCf; filename*2=.pdf": "Prüf.pdf",
    "attachment; filename=fallback.pdf; filename*=": "fallback.pdf",
    "attachment; filename=fallback.pdf; filename*=''": "fallback.pdf",
    "attachment; filename*=utf-8'de'Pr%c3%bcf.pdf": "Prüf.pdf",
    "attachment; filename*=iso-8859-1''%93Pr%FCf%94": "“Prüf”",
    "attachment; filename*=gb2312''%e9F.pdf": "镕.pdf",
    "attachment; filename*=nonsense''%ff": "ÿ",
    "attachment; filename*=Pr%C3%BCf.pdf": "Prüf.pdf",
    "attachment; filename*=\"UTF-8''Pr%C3%BCf.pdf\"": "Prüf.pdf",
    "attachment; filename*=''Pr%C3%BCf.pdf": "Prüf.pdf",
    "attachment; filename*=utf-8''a%2": "a%2",
    'attachment; filename*="=?utf-8?Q?Pr=C3=BCf.pdf?="': "Prüf.pdf",
    "attachment; filename*=utf-8''=?utf-8?Q?Pr=C3=BCf.pdf?=": "Prüf.pdf",
    "attachment; filename*=utf-8''a%zz%C3": "a%zz\ufffd",
    "attachment; filename*=utf-8''it's.pdf": "it's.pdf",
    'attachment; filename*0="a "; filename*1="b.pdf"': "a b.pdf",
    "attachment; filename*1=b.pdf; filename*0=a": "ab.pdf",
    "attachment; filename*1=a; filename*3=b.pdf": "ab.pdf",
    "attachment; filename*0=a; filename*0=x; filename*1=b": "ab",
    'attachment; filename*0="=?utf-8?b?"; filename*1="w7w=?="': "ü",
    "attachment; filename*0*=utf-8''%C3%BC; filename*1=%41": "ü%41",
    "attachment; filename*99999999999999999999=x; filename=a": "a",
    "attachment; filename**=x; filename=a": "a",
    "attachment filename=x.pdf": "x.pdf",
    "filename=x.pdf": "x.pdf",
    '"attachment"; filename="x.pdf"': "x.pdf",
    "attachment; FileName=x.pdf": "x.pdf",
    "attachment;\tfilename = x.pdf": "x.pdf",
}

FRAGMENTS = st.sampled_from(
    (
        "text",
        "/",
        "plain",
        "; ",
        ";",
        "=",
        '"',
        "\\",
        "'",
        "''",
        "%C3",
        "%",
        "*",
        "*0",
        "*1*",
        "name",
        "filename",
        "boundary",
        " ",
    )
) | st.sampled_from(
    ("(", ")", "charset=", "=?utf-8?q?", "?=", "\udcff", "\ud800", "ü", "\x00", "\t", "<", ">", ",")
)


class ContentTypeTests(SynchronousTestCase):
    def test_types(self):
        """The type up to what cannot be of it; parameters with and without semicolons; no type at all."""
        for value, (kind, parameters) in TYPES.items():
            with self.subTest(value):
                found = content_type(value)
                self.assertEqual((found.kind, dict(found.parameters)), (kind, parameters))

    def test_names(self):
        """A file name with or without quotes, with an end or without, with paths and encoded words."""
        for value, name in NAMES.items():
            with self.subTest(value):
                self.assertEqual(content_type(f"a/b; name={value}").parameters["name"], name)
                self.assertEqual(disposition(f"inline; x=y; filename={value}").parameters["filename"], name)

    def test_what_follows(self):
        """What follows a value that has no end, or too many of them, is read."""
        for value in ('"open', '"a "b" c"', "(open", "'open", '"C:\\x\\"', "x (a (b) c)", "\\"):
            with self.subTest(value):
                self.assertEqual(
                    content_type(f"a/b; x={value}; charset=utf-8").parameters["charset"], "utf-8"
                )


class DispositionTests(SynchronousTestCase):
    def test_kinds(self):
        """The disposition in lower case; none, if there is only a parameter."""
        cases = {
            "attachment": "attachment",
            "INLINE; x=y": "inline",
            "": "",
            "filename=x": "",
            '"attachment"': "attachment",
            "=": "",
        }
        for value, kind in cases.items():
            with self.subTest(value):
                self.assertEqual(disposition(value).kind, kind)

    def test_extended(self):
        """RFC 2231: filename* before filename, sections in their order, characters split over them."""
        for value, name in EXTENDED.items():
            with self.subTest(value):
                self.assertEqual(disposition(value).parameters["filename"], name)

    def test_guess(self):
        """Octets of no known charset are in the body's."""
        for value in (
            "attachment; filename=\udcf0\udcd2",
            "attachment; filename*=x''%F0%D2",
            "attachment; filename*=%F0%D2",
        ):
            with self.subTest(value):
                self.assertEqual(disposition(value, "koi8-r").parameters["filename"], "Пр")


class BoundTests(SynchronousTestCase):
    def test_caps(self):
        """So many parameters are read, and so much of each."""
        many = content_type("a/b" + "".join(f"; x{n}=y" for n in range(MAX_PARAMETERS + 100)))
        self.assertEqual(len(many.parameters), MAX_PARAMETERS)
        self.assertEqual(len(content_type(f"a/b; x={'y' * MAX_LENGTH}z").parameters["x"]), MAX_LENGTH)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(FRAGMENTS | st.text(max_size=3), max_size=25).map("".join),
        st.sampled_from(["", "shift_jis", "koi8-r"]),
    )
    def test_anything(self, value, guess):
        """Nothing makes it fail; kinds are tokens, values can be written as UTF-8."""
        for found in (content_type(value, guess), disposition(value, guess)):
            self.assertTrue(found.kind.isascii())
            self.assertNotIn(" ", found.kind)
            for name, text in found.parameters.items():
                self.assertEqual(name, name.lower())
                self.assertIsInstance(
                    text.encode("utf-8", "surrogateescape" if name == "boundary" else "strict"), bytes
                )

    def test_cost(self):
        """The cost is that of one pass, whatever has no end."""
        makers = {
            "open quote": lambda size: 'text/plain; a="' + ";" * size,
            "open quotes": lambda size: "a/b" + ';a="\\"' * size,
            "parameters": lambda size: "a/b" + "; a=b" * size,
            "strings with junk": lambda size: "a/b;" + 'a="x"y;' * size,
            "strings with blanks": lambda size: "a/b;" + 'a="x"y ' * size,
            "brackets": lambda size: "a/b;" + "(" * size,
            "escaped brackets": lambda size: "a/b;" + "(\\)" * size,
            "brackets and names": lambda size: "a/b;" + "(a=b" * size,
            "names": lambda size: "a/b;" + "a " * size,
            "a name": lambda size: "a/b;" + "a" * size,
            "equals": lambda size: "a/b;" + "=" * size,
            "blanks": lambda size: "a/b;a" + " " * size + "x",
            "blanks of a type": lambda size: "text" + " " * size + "x",
            "words of a name": lambda size: "a/b; name=" + "a " * size,
            "sections": lambda size: "a/b" + "".join(f'; name*{n}*="%C3"' for n in range(size)),
            "percent": lambda size: "a/b; name*=utf-8''" + "%C3" * size,
            "quotes": lambda size: "a/b;a=" + '"' * size,
            "quotes and blanks": lambda size: 'a/b;a="' + '" ' * size,
        }
        for name, make in makers.items():
            for read in (content_type, disposition):
                with self.subTest(name, read=read.__name__):
                    self.assertLessEqual(growth(read, make, 2_000, 60_000), LIMIT)
