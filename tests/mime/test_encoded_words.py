"""Encoded words are read as they were meant, also where they are not quite right."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.encoded_words import MAX_WORDS, decode_words, pieces
from tests.mime.linear import LIMIT, growth

CASES = {
    # what the RFC says
    "=?utf-8?q?gr=C3=BCn_rot?= x": "grün rot x",
    "=?utf-8?B?w7w=?=": "ü",
    "=?utf-8*de?q?=C3=BC?=": "ü",
    "=?iso-8859-1*en-US?Q?=FC?=": "ü",
    "a =?utf-8?q?b?= c": "a b c",
    "=?utf-8?q?a?= =?utf-8?q?b?=": "ab",
    "=?utf-8?q?a?=\t \r\n =?utf-8?q?b?=": "ab",
    "=?utf-8?q?a_?= =?utf-8?q?b?=": "a b",
    "=?utf-8?q?a?= b =?utf-8?q?c?=": "a b c",
    " =?utf-8?q?a?= ": " a ",
    "=?utf-8?q??=": "",
    # words that touch each other, or what is around them
    "=?utf-8?q?a?==?utf-8?q?b?=": "ab",
    "x=?utf-8?q?a?=y": "xay",
    "(=?utf-8?q?a?=)": "(a)",
    # characters split over words, and base64 itself
    "=?utf-8?q?=C3?= =?utf-8?q?=BC?=": "ü",
    "=?utf-8?b?ww==?= =?UTF-8?q?=BC?=": "ü",
    "=?utf-8?b?w7w=?= =?iso-8859-1?q?=FC?=": "üü",
    "=?gb2312?q?=E9?= =?gb2312?q?F?=": "镕",
    "=?shift_jis?b?hw==?= =?shift_jis?b?QA==?=": "①",
    "=?utf-8?b?4oKs4o?= =?utf-8?b?Ks?=": "€€",
    "=?utf-8?b?w7w?= =?utf-8?b?w7w?=": "üü",
    "=?iso-2022-jp?b?GyRCLWobKEI=?= =?iso-2022-jp?b?GyRCM3QbKEI=?=": "㈱株",
    # padding, letters, blanks
    "=?utf-8?b?w7w?=": "ü",
    "=?utf-8?b?w7w==?=": "ü",
    "=?utf-8?b?w7 w=?=": "ü",
    "=?utf-8?b?Gr=C3=BC=C3=9Fe?=": "Grüße",
    "=?utf-8?B?Stra=C3=9Fe_1?=": "Straße 1",
    "=?utf-8?q?R3LDvMOfZQ==?=": "Grüße",
    "=?utf-8?Q?a=b=?=": "a=b=",
    "=?utf-8?Q?=3D=3D41=ZZ=4?=": "==41=ZZ=4",
    "=?utf-8?Q?==41?=": "=A",
    "=?utf-8?Q?hello w=C3=B6rld?= x": "hello wörld x",
    "=?utf-8?Q?a b?= =?utf-8?Q? c?=": "a b c",
    # question marks within a word
    "=?utf-8?Q?why??=": "why?",
    "=?utf-8?Q?why?=20me??=": "why? me?",
    "=?utf-8?Q?why?=20not?= 2?=": "why? not 2?=",
    "=?utf-8?Q?why?=20?=41=?utf-8?Q?=20b?=": "why? 41 b",
    "=?utf-8?Q?a?=20 b": "a20 b",
    "=?utf-8?Q?a?==?utf-8?Q?=20b?=": "a b",
    # charsets that nobody knows
    "=?x-unknown?q?Gr=C3=BC?=": "Grü",
    "=?nope?q?Gr=FC?=": "Grü",
    "=?punycode?q?-bbb?=": "-bbb",
    "=?rot13?q?abc?=": "abc",
    '=?"utf-8"?q?=C3=BC?=': "ü",
    # octets that are not encoded within a word
    "=?iso-8859-1?q?Gr\udcfc=DFe?=": "Grüße",
    "=?utf-8?q?Gr\udcc3\udcbc=C3=9Fe?=": "Grüße",
    "=?utf-8?q?Gr\udcfc=C3=9Fe?=": "Grüße",
    "=?koi8-r?q?\udcf0=D2?=": "Пр",
    "=?utf-8?b?w7w=\udcff?=": "ü",
    "=?iso-8859-1?q?Grü=DFe?=": "Grüße",
    "=?shift_jis?q?表=87=40?=": "表①",
    "\udcc3\udcbc =?utf-8?q?=C3=BC?= \udcfc": "ü ü ü",
    "ü =?utf-8?q?=C3=BC?= \udcfc": "ü ü ü",
    "ü\udcff\udcfe": "üÿþ",
    # what is no word
    "=?utf-8?x?a?=": "=?utf-8?x?a?=",
    "a =?": "a =?",
    "=?utf-8?q?a": "=?utf-8?q?a",
    "=?utf-8?q?open =?utf-8?q?b?=": "=?utf-8?q?open b",
    "=??q?a?=": "=??q?a?=",
    "=?u 8?q?a?=": "=?u 8?q?a?=",
    "=?=?utf-8?q?a?=": "=?a",
    "?==?utf-8?q?a?=": "?=a",
    "": "",
}

#: What words are made of, and what breaks them.
FRAGMENTS = st.sampled_from(
    (
        "=?",
        "?=",
        "?",
        "=",
        "utf-8",
        "iso-2022-jp",
        "punycode",
        "*de",
        "?q?",
        "?b?",
        "=C3",
        "w7w=",
        "w7",
        "_",
        " ",
        "\t",
        "\r\n",
    )
) | st.sampled_from(
    (
        "\udcff",
        "\ud800",
        "\udfff",
        "\udcc3\udcbc",
        "ü",
        "=?utf-8?q?a?=",
        "=?gb2312?b?6UY=?=",
        "=?utf-7?q?+2AA-?=",
        "\x1b$B",
        "\x00",
    )
)


class WordTests(SynchronousTestCase):
    def test_cases(self):
        """Right words by the RFC, nearly right ones by what they mean, anything else as it stands."""
        for value, text in CASES.items():
            with self.subTest(value):
                self.assertEqual(decode_words(value), text)

    def test_guess(self):
        """The body's charset is the guess for octets outside of words, and in those of no known charset."""
        self.assertEqual(
            decode_words("\udcf0\udcd2 =?x-unknown?q?=F0=D2?= =?utf-8?q?=C3=BC?=", "koi8-r"), "Пр Прü"
        )
        self.assertEqual(decode_words("\udc83e =?utf-8?q?=C3=BC?=", "shift_jis"), "テ ü")

    def test_many(self):
        """So many words are decoded and no more."""
        value = "=?utf-8?q?a?= " * (MAX_WORDS + 1)
        self.assertEqual(decode_words(value).strip(), "a" * MAX_WORDS + " =?utf-8?q?a?=")

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(FRAGMENTS | st.text(max_size=4), max_size=20).map("".join),
        st.sampled_from(["", "koi8-r", "big5"]),
    )
    def test_anything(self, value, guess):
        """Nothing makes it fail; the text can be sent on as UTF-8."""
        text = decode_words(value, guess)
        self.assertIsInstance(text.encode(), bytes)
        self.assertLessEqual(len(text), 4 * len(value))
        self.assertIsInstance(list(pieces(value)), list)

    def test_cost(self):
        """The cost is that of one pass, whatever has no end."""
        makers = {
            "open": lambda size: "=?a?q?x" * size,
            "open to a far end": lambda size: "=?a?q?x" * size + "?=",
            "open and closed": lambda size: "=?a?q?" * size + "?=",
            "beginnings": lambda size: "=?" * size,
            "no charset": lambda size: "=?aaa" * size,
            "question marks": lambda size: "?" * size,
            "longer ends": lambda size: "=?a?q?x" + "?=41" * size,
            "words, no longer ends": lambda size: "=?a?q?x?=41zz" * size,
            "words": lambda size: "=?utf-8?b?w7w?= " * size,
            "charsets": lambda size: "".join(f"=?x{n}?q?a?= " for n in range(size)),
            "one word": lambda size: "=?utf-8?q?" + "=C3=BC" * size + "?=",
            "punycode": lambda size: "=?punycode?q?-" + "b" * size + "?=",
            "equals": lambda size: "=?utf-8?q?" + "=" * size + "?=",
            "blanks": lambda size: "=?a?q?b?=" + " " * size + "=?a?q?b?=",
            "raw": lambda size: "\udcff=?" * size,
        }
        for name, make in makers.items():
            with self.subTest(name):
                self.assertLessEqual(growth(decode_words, make), LIMIT)
