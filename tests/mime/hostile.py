"""
Mails that break parsers: as strategies for hypothesis, and as makers whose cost is measured.

:func:`mails` gives anything from plain mail to noise, made of header lines, structures, boundaries and
charsets that programs and attackers send. :data:`COSTLY` has, by name, what stops a parser that is not
linear: a function from a size to a mail of about that many octets.
"""

import base64
from collections.abc import Callable, Mapping

from hypothesis import strategies as st

LABELS = (
    "utf-8",
    "UTF8",
    "us-ascii",
    "iso-8859-1",
    "latin1",
    "iso-8859-8-i",
    "windows-1252",
    "gb2312",
    "gbk",
    "big5",
    "shift_jis",
    "iso-2022-jp",
    "euc-kr",
    "ks_c_5601-1987",
    "utf-16",
    "utf-7",
    "punycode",
    "idna",
    "rot13",
    "zlib",
    "unicode_escape",
    "unknown-8bit",
    "nonsense",
    "",
    '"utf-8',
    "utf-8;",
    "\xff",
)
TYPES = (
    "text/plain",
    "text/html",
    "TEXT/Plain",
    "text",
    "text/",
    "plain/text",
    "text/calendar; method=REQUEST",
    "text/markdown",
    "text/plain>",
    "text/plain\x01",
    "*/*",
    "message/rfc822",
    "message/delivery-status",
    "application/pdf",
    "application/octet-stream name=a.csv",
    "application/ms-tnef",
    "image/jpg",
    ";;=",
    "",
)
ENCODINGS = (
    "7bit",
    "8bit",
    "base64",
    "base64;",
    "base64 (x)",
    "quoted-printable",
    "quoted printable",
    "x-uuencode",
    "x-nonsense",
    "\x00",
)
NAMES = (
    "a.pdf",
    '"C:\\scan\\a.pdf"',
    '"Invoice 1/2.pdf"',
    '".."',
    '"',
    '"open',
    "=?utf-8?q?gr=C3=BCn.txt?=",
    "\xfc.pdf",
    '"\u202efdp.exe"',
    "a\x00b",
    "x" * 300 + ".pdf",
)
BOUNDARIES = ("b", "bb", "b--", "--", "", "a b", "=_x", "b" * 80, "\xe9", "b\r\n b")
JUNK = (
    b"this is no header",
    b"From x@y Mon Jan  1 00:00:00 2024",
    b">From x@y",
    b"\xef\xbb\xbf",
    b" leading blank",
    b"\t",
    b":",
    b": value",
    b"name :",
    b"--b",
    b"\x00\xff",
    b'boundary="b"',
    b"charset=utf-8;",
)
WORDS = (
    b"=?utf-8?q?gr=C3=BCn?=",
    b"=?utf-8?b?//8?=",
    b"=?punycode?q?-bbbb?=",
    b"=?x?q?=zz?=",
    b"=?utf-8?q?a",
    b"=?utf-8?q?a?= =?utf-8?q?b?=",
    b"=?iso-2022-jp?b?GyRCRnxLXBsoQg==?=",
    b"gr\xc3\xbcn",
    b"gr\xfcn",
    b"\x1b$BF|K\\\x1b(B",
    b"\x00\x1b\x7f",
)
MAILBOXES = (
    b"a@x.org",
    b'"Doe, J" <b@x.org>',
    b"a <b@c>, (",
    b"g: x@y, ;",
    b"@@@",
    b"[Team] Sales <a@x.org>",
    b"\xe9;, ",
    b"<",
)

_texts = st.sampled_from(
    (b"", b"text", b"gr\xfcn", b"gr\xc3\xbcn", b"\xff\xfea\x00", b"=C3=BC=", b"Z3LDvG4=")
)
_html = st.sampled_from(
    (
        b"<b>x</b>",
        b"<meta charset=gbk>\xd6\xd0",
        b"<body><p>a < b</BODY>",
        b"<!--",
        b"<script>",
        b"&#1;&#x110000;",
    )
)
_noise = st.sampled_from((b"--b", b"--b--", b"\r\n", b"\n", b"\r", b"=", b"\x00")) | st.binary(max_size=12)
#: What a part says, or a line that looks like anything.
contents = st.one_of(_texts, _html, st.lists(_noise, max_size=6).map(b"".join))
line_ends = st.sampled_from((b"\r\n", b"\n", b"\r\n\t", b"\r\n \r\n ", b""))


def _octets(text: str) -> bytes:
    return text.encode("latin-1", "replace")


def _joined(*strategies: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    return st.tuples(*strategies).map(b"".join)


def _one(values: tuple[str, ...]) -> st.SearchStrategy[bytes]:
    return st.sampled_from(values).map(_octets)


#: A line of a header, with its end, or several.
header_lines = st.one_of(
    _joined(st.just(b"Subject: "), st.sampled_from(WORDS), line_ends),
    _joined(
        st.sampled_from((b"To: ", b"From: ", b"Cc:", b"reply-to: ")), st.sampled_from(MAILBOXES), line_ends
    ),
    _joined(st.just(b"Content-Type: "), _one(TYPES), st.just(b"; charset="), _one(LABELS), line_ends),
    _joined(st.just(b"Content-Type: "), _one(TYPES), st.just(b";\r\nname="), _one(NAMES), line_ends),
    _joined(st.just(b"Content-Transfer-Encoding: "), _one(ENCODINGS), line_ends),
    _joined(
        st.sampled_from((b"Content-Disposition: attachment; ", b"content-disposition:inline;")),
        st.sampled_from((b"filename=", b"filename*=utf-8''", b"filename*0=", b"filename*0*=x'")),
        _one(NAMES),
        line_ends,
    ),
    _joined(st.just(b"Content-ID: <"), st.sampled_from((b"a@b>", b"", b"A%20b>")), line_ends),
    _joined(st.sampled_from((b"Alarm: ", b"X-A:", b"Date: ", b"Received: x; ")), contents, line_ends),
    _joined(st.sampled_from(JUNK), line_ends),
)
header_blocks = st.lists(header_lines, max_size=6).map(b"".join)


def _leaf(block: bytes, content: bytes) -> bytes:
    return block + b"\r\n" + content


def _multipart(  # noqa: PLR0917 - what a multipart is made of, in its order
    block: bytes, subtype: str, boundary: str, parts: list[bytes], loose: bytes, close: bytes
) -> bytes:
    line = b"\r\n--" + _octets(boundary)
    inner = b"".join(line + b"\r\n" + part for part in parts)
    head = block + _octets(f'Content-Type: multipart/{subtype}; boundary="{boundary}"\r\n')
    return head + b"\r\n" + loose + inner + line + close


_subtypes = st.sampled_from(("mixed", "alternative", "related", "digest", "signed", "report", "x"))
_closes = st.sampled_from((b"--\r\n", b"--", b"", b"-- \r\nepilogue", b"--\r\n--b\r\n\r\nlate"))
#: A part with its header; multiparts have parts in them.
parts = st.recursive(
    st.builds(_leaf, header_blocks, contents),
    lambda inner: st.builds(
        _multipart,
        header_blocks,
        _subtypes,
        st.sampled_from(BOUNDARIES),
        st.lists(inner, max_size=4),
        contents,
        _closes,
    ),
    max_leaves=12,
)


def mails() -> st.SearchStrategy[bytes]:
    """Return mails of every kind: whole, cut off, with noise in them, and nothing but noise."""
    cut = st.tuples(parts, st.integers(0, 400)).map(lambda both: both[0][: both[1]])
    noisy = st.lists(header_lines | contents | _noise, max_size=20).map(b"".join)
    return st.one_of(parts, _joined(st.just(RECEIVED), parts), cut, noisy)


#: What the relay puts before all that a client sends.
RECEIVED = (
    b"Received: from printer ([192.0.2.7])\r\n\tby relay.example.com (smtprelay) with ESMTP id 4F9;\r\n"
    b"\tMon, 30 Nov 2026 08:00:00 +0000\r\n"
)
_MIXED = b"Content-Type: multipart/mixed; boundary=a\r\n\r\n"
_PLAIN_AND_HTML = _MIXED + b"--a\r\n\r\nplain\r\n--a\r\nContent-Type: text/html\r\n\r\n"


def _deep(size: int) -> bytes:
    levels = b"".join(
        b"Content-Type: multipart/mixed; boundary=b%d\r\n\r\npreamble\r\n--b%d\r\n" % (n, n)
        for n in range(30)
    )
    return levels + b"\r\n" + b"--leaf line\r\n" * (size // 13)


def _many_parts(size: int) -> bytes:
    part = b"--a\r\nContent-Type: image/png\r\nContent-ID: <i%d>\r\n\r\n%s\r\n"
    return _MIXED + b"".join(part % (n, b"x" * (size // 900)) for n in range(900))


def _alternating(size: int) -> bytes:
    kinds = (b"plain", b"html")
    part = b"--a\r\nContent-Type: text/%s\r\n\r\n%s\r\n"
    return _MIXED + b"".join(part % (kinds[n % 2], b"<p>x</p>" * (size // 7200)) for n in range(900))


#: A mail of about so many octets, by what makes it costly.
COSTLY: Mapping[str, Callable[[int], bytes]] = {
    # parameters
    "parameters without an end quote": lambda n: b'Content-Type: text/plain; a="' + b";" * n + b"\r\n\r\nx",
    "file name without an end quote": lambda n: (
        _MIXED + b'--a\r\nContent-Disposition: attachment; filename="' + b";" * n + b"\r\n\r\nx"
    ),
    "parameter lines without indent": lambda n: (
        b"Content-Type: text/plain;\r\n" + b"a=b;\r\n" * (n // 6) + b"\r\nx"
    ),
    "type of blanks": lambda n: b"Content-Type: text" + b" " * n + b"x\r\n\r\nx",
    # encoded words and addresses
    "punycode": lambda n: b"Subject: =?punycode?q?-" + b"b" * n + b"?=\r\n\r\nx",
    "encoded words": lambda n: b"Subject: " + b"=?utf-8?q?a?= " * (n // 14) + b"\r\n\r\nx",
    "encoded words without an end": lambda n: b"Subject: " + b"=?utf-8?q?" * (n // 10) + b"\r\n\r\nx",
    "at signs": lambda n: b"From: " + b"@" * n + b"\r\n\r\nx",
    "comments": lambda n: b"From: " + b"(" * n + b"\r\n\r\nx",
    "raw header": lambda n: b"To: " + b"\xe9;, " * (n // 4) + b"\r\n\r\nx",
    "separators": lambda n: b"From: " + b";" * n + b"\r\n\r\nx",
    "addresses without separators": lambda n: b"Reply-To: " + b"\xc3\xbc#>" * (n // 4) + b"\r\n\r\nx",
    "addresses": lambda n: b"To: " + b"a@x.example,\r\n " * (n // 15) + b"b@x.example\r\n\r\nx",
    # header blocks
    "fields": lambda n: b"X-A: b\r\n" * (n // 8) + b"\r\nx",
    "fields without a known name": lambda n: b"Alarm: b\r\n" * (n // 10) + b"\r\nx",
    "fields without a blank line": lambda n: b"Subject: x\r\n" + b"A:b\r\n" * (n // 5),
    "folds": lambda n: b"Subject: x\r\n" + b" y\r\n" * (n // 4) + b"\r\nx",
    "address lines without indent": lambda n: b"To: a@b,\r\n" + b"a@b,\r\n" * (n // 6) + b"\r\nx",
    "lines that are no fields": lambda n: b"Subject: x\r\n" + b"y\r\n" * (n // 3) + b"To: a@b\r\n\r\nx",
    "line without a colon": lambda n: b"x" * n,
    "name and blanks": lambda n: b"x" + b" " * n + b"x",
    "lines like boundaries between fields": lambda n: b"--x\r\nTo: a\r\n" * (n // 12) + b"\r\nx",
    "parts without a blank line": lambda n: _MIXED + (b"--a\r\n" + b"a:b\r\n" * (n // 4500)) * 900,
    # boundaries
    "boundary without a newline": lambda n: _MIXED + b"--a" * (n // 3),
    "boundary and blanks": lambda n: _MIXED + b"--a" + b" " * n + b"x\r\n",
    "longer boundaries": lambda n: _MIXED + b"--a\r\n\r\n" + b"--aa\r\n" * (n // 6),
    "unknown boundaries": lambda n: _MIXED + b"--\r\n" * (n // 4),
    "long boundary": lambda n: (
        b"Content-Type: multipart/mixed; boundary=" + b"b" * n + b"\r\n\r\n--" + b"b" * n
    ),
    "closed again and again": lambda n: _MIXED + b"--a\r\n\r\nx\r\n" + b"--a--\r\n" * (n // 7),
    "deep": _deep,
    "many parts": _many_parts,
    # texts
    "texts in turn": _alternating,
    "tags without an end": lambda n: _PLAIN_AND_HTML + b"<" * n,
    "comments in HTML": lambda n: _PLAIN_AND_HTML + b"<!--" * (n // 4),
    "scripts": lambda n: _PLAIN_AND_HTML + b"<script><script></script" * (n // 24),
    "entities": lambda n: _PLAIN_AND_HTML + b"&#" + b"1" * n,
    "blanks in tags": lambda n: _PLAIN_AND_HTML + b"<b> </b>" * (n // 8),
    "bodies": lambda n: (
        _MIXED + b"--a\r\nContent-Type: text/html\r\n\r\n" + b"<body" * (n // 5) + b"\r\n--a\r\n\r\nx"
    ),
    "meta": lambda n: b"Content-Type: text/html\r\n\r\n" + b"<meta charset" * (n // 13),
    "shifts": lambda n: b"Content-Type: text/plain; charset=iso-2022-kr\r\n\r\n" + b"\x0e\xff" * (n // 2),
    "base64 in a text": lambda n: (
        b"Content-Transfer-Encoding: base64\r\n\r\n" + base64.b64encode(b"x" * 3)[:3] + b"=!" * (n // 2)
    ),
    "quoted-printable": lambda n: (
        b"Content-Transfer-Encoding: quoted-printable\r\n\r\n" + b"= " * (n // 2) + b"x"
    ),
    "uuencode": lambda n: (
        b"Content-Transfer-Encoding: x-uuencode\r\n\r\nbegin 644 a\r\n" + b"#a\r\n" * (n // 4)
    ),
}
