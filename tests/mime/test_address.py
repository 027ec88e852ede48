"""Header fields yield the mailboxes that a person would see in them, in linear time."""

from hypothesis import given, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.address import MAX_ADDRESS, MAX_ADDRESSES, MAX_NAME, Address, addresses, comparison_key
from tests.mime.linear import LIMIT, growth

CASES = {
    # as the RFC says
    "a@x.org": [("a@x.org", "")],
    "<a@x.org>": [("a@x.org", "")],
    "John Q. Public <j@x.org>": [("j@x.org", "John Q. Public")],
    '"Doe, John" <b@x.org>, a@x.org': [("b@x.org", "Doe, John"), ("a@x.org", "")],
    '"Joe \\"J\\" D\\\\" <j@x.org>': [("j@x.org", 'Joe "J" D\\')],
    '"A <x@y>, B" <a@x.org>': [("a@x.org", "A <x@y>, B")],
    "team: a@x.org, B <b@x.org>;, c@x.org": [("a@x.org", ""), ("b@x.org", "B"), ("c@x.org", "")],
    "undisclosed-recipients:;": [],
    "a@x.org (Alice)": [("a@x.org", "Alice")],
    "(Alice) <a@x.org>": [("a@x.org", "Alice")],
    "(ignored, (nested) \\) ) Al <a@x.org>": [("a@x.org", "Al")],
    '"john doe"@x.org': [('"john doe"@x.org', "")],
    'J <"john, <doe>"@x.org>': [('"john, <doe>"@x.org', "J")],
    "<@a.org,@b.org:c@x.org>": [("c@x.org", "")],
    "a @ x.org": [("a@x.org", "")],
    "a@[192.0.2.1], b@[IPv6:2001:db8::1]": [("a@[192.0.2.1]", ""), ("b@[IPv6:2001:db8::1]", "")],
    "=?utf-8?q?J=C3=BCrgen?= <j@x.org>": [("j@x.org", "Jürgen")],
    "=?utf-8?q?J=C3?= =?utf-8?q?=BCrgen?= <j@x.org>": [("j@x.org", "Jürgen")],
    "a@x.org (=?utf-8?q?J=C3=BCrgen?=)": [("a@x.org", "Jürgen")],
    # names that should have been quoted
    "[Team] Sales <a@x.example>": [("a@x.example", "[Team] Sales")],
    "Doe, John <j@x.org>": [("j@x.org", "Doe, John")],
    "Doe, John, Jr. <j@x.org>, Roe, Jane <k@x.org>": [
        ("j@x.org", "Doe, John, Jr."),
        ("k@x.org", "Roe, Jane"),
    ],
    "Sales: Europe <a@x.org>": [("a@x.org", "Sales: Europe")],
    "Max (IT) <m@x.org>": [("m@x.org", "Max (IT)")],
    "Max @ Home <m@x.org>": [("m@x.org", "Max @ Home")],
    "j@x.org <j@x.org>": [("j@x.org", "j@x.org")],
    "Käthe <k@bücher.example>": [("k@bücher.example", "Käthe")],
    "=?utf-8?q?Doe,_J?= <j@x.org>": [("j@x.org", "Doe, J")],
    '"=?utf-8?q?J=C3=BC?=" <j@x.org>': [("j@x.org", "Jü")],
    "'Bob' <b@x.org>": [("b@x.org", "Bob")],
    "O'Brien <o'b@x.org>": [("o'b@x.org", "O'Brien")],
    "A\\, B <a@x.org>": [("a@x.org", "A, B")],
    "=?utf-8?q?a=00=0Ab?= <a@x.org>": [("a@x.org", "a b")],
    # quotes, brackets, commas and ends that are missing
    '"Doe <a@x.org>': [("a@x.org", "Doe")],
    'Doe" <a@x.org>, b@x.org': [("a@x.org", "Doe"), ("b@x.org", "")],
    '"Doe <a@x.org>, "Roe" <b@x.org>, c@x.org': [("a@x.org", "Doe"), ("b@x.org", "Roe"), ("c@x.org", "")],
    'a@x.org, "Doe <b@x.org>, c@x.org': [("a@x.org", ""), ("b@x.org", "Doe"), ("c@x.org", "")],
    "Doe (x <a@x.org>, b@x.org": [("a@x.org", "Doe (x"), ("b@x.org", "")],
    "<a@x.org": [("a@x.org", "")],
    "a@x.org>": [("a@x.org", "")],
    "Al <a@x.org, Bo <b@x.org>": [("a@x.org", "Al"), ("b@x.org", "Bo")],
    "Al <a@x.org> Bo <b@x.org>": [("a@x.org", "Al"), ("b@x.org", "Bo")],
    "<a@x.org><b@x.org>": [("a@x.org", ""), ("b@x.org", "")],
    "<a@x.org> and more, Bo <b@x.org>": [("a@x.org", ""), ("b@x.org", "Bo")],
    "<<a@x.org>>": [("a@x.org", "")],
    "a@x.org b@x.org": [("a@x.org", ""), ("b@x.org", "")],
    "<a@x.org b@x.org>": [("a@x.org", ""), ("b@x.org", "")],
    "a@x.org; b@x.org; Cy <c@x.org>": [("a@x.org", ""), ("b@x.org", ""), ("c@x.org", "Cy")],
    " , ,, a@x.org ,": [("a@x.org", "")],
    "John a@x.org": [("a@x.org", "John")],
    "foo, bar, a@x.org": [("a@x.org", "")],
    '"Roe, Jane" j@x.org, b@x.org': [("j@x.org", "Roe, Jane"), ("b@x.org", "")],
    "=?utf-8?q?J=C3=BCrgen?= j@x.org": [("j@x.org", "Jürgen")],
    "j@x.org =?utf-8?q?J=C3=BCrgen?=": [("j@x.org", "Jürgen")],
    'J. "Jay" Roe j@x.org': [("j@x.org", "J. Jay Roe")],
    '"J" "j roe"@x.org': [('"j roe"@x.org', "")],
    "Al (a \\) b) <a@x.org>": [("a@x.org", "Al (a ) b)")],
    "a@x.org (Al \\(b\\))": [("a@x.org", "Al (b)")],
    "Al Roe (a@x.org), b@x.org (Bo)": [("a@x.org", "Al Roe"), ("b@x.org", "Bo")],
    "=?utf-8?q?J=C3=BCrgen?= (j@x.org)": [("j@x.org", "Jürgen")],
    # comments and blanks within an address
    "Al <al(home)@x(y).org(z)>": [("al@x.org", "Al")],
    "Al <al@(a (nested) one)x.org>, b@x.org": [("al@x.org", "Al"), ("b@x.org", "")],
    "al(home)@x.org": [("al@x.org", "home")],
    "Al <al @ x . org>": [("al@x.org", "Al")],
    "al@x . org": [("al@x.org", "")],
    "Al <al@x(y.org>": [("al@x(y.org", "Al")],
    # addresses in a place of their own
    '"a@x.org"': [("a@x.org", "")],
    "'a@x.org'": [("a@x.org", "")],
    "mailto:a@x.org": [("a@x.org", "")],
    "Al <mailto:a@x.org>": [("a@x.org", "Al")],
    "=?utf-8?q?Bob_=3Cb@x.org=3E?=": [("b@x.org", "Bob")],
    "=?utf-8?q?Max_=40_Home?=, Jr. <m@x.org>": [("m@x.org", "Max @ Home, Jr.")],
    '"Max @ Home", Jr. <m@x.org>': [("m@x.org", "Max @ Home, Jr.")],
    '"Max @ Home"': [],
    "=?utf-8?b?YkB4Lm9yZw==?=": [("b@x.org", "")],
    "< a@x.org >": [("a@x.org", "")],
    # none
    "nonsense": [],
    "Bob <bob>": [],
    "": [],
    "<>": [],
    "@": [],
    "a@": [],
    "@x.org": [],
    "a@b@x.org": [],
    "a@x.org@": [],
    "\udcff@": [],
    "\\=?x?q?\udcff?=@x.org": [("\\=?x?q?ÿ?=@x.org", "")],
}

FRAGMENTS = st.sampled_from(
    (
        "a@x.org",
        "<",
        ">",
        ",",
        ";",
        ":",
        '"',
        "\\",
        "(",
        ")",
        "[",
        "]",
        " ",
        "@",
        "Doe",
        "=?utf-8?q?=C3=BC?=",
        "=?",
        "?=",
        "\udcff",
    )
) | st.sampled_from(
    ("ü", "\x00", "\r\n", "<b@y.org>", '"x, y" <c@z.org>', "=?utf-8?q?d=40e?=", "\ud800", "\x1b$B")
)


def pairs(value, guess=""):
    return [(found.address, found.name) for found in addresses([value], guess)]


class AddressTests(SynchronousTestCase):
    def test_cases(self):
        """Right fields by the RFC; nearly right ones as a person reads them."""
        for value, expected in CASES.items():
            with self.subTest(value):
                self.assertEqual(pairs(value), expected)

    def test_among_others(self):
        """A mailbox between two others reads as it does alone, whatever shape it has."""
        for value, expected in CASES.items():
            if expected and value.count('"') % 2 == 0 and value.count("(") == value.count(")"):
                with self.subTest(value):
                    self.assertEqual(
                        pairs(f"First, One <1@x.org>, {value}, 2@x.org"),
                        [("1@x.org", "First, One"), *expected, ("2@x.org", "")],
                    )

    @given(
        st.from_regex(
            r"([A-Za-z0-9]{1,3} {1,2}){0,2}(<[a-z=.]{1,4}@[a-z.-]{1,5}>|[a-z=.]{1,4}@[a-z.-]{1,5})",
            fullmatch=True,
        )
    )
    def test_a_plain_mailbox_is_read_like_any_other(self, value: str):
        """Alone, where it goes a shorter way, a mailbox reads as it does before another one."""
        last = Address("last@x.org")
        both = addresses([value, last.address])
        self.assertEqual((*addresses([value]), last), both)

    def test_several_fields(self):
        """The values of several fields are one list; what has no end in one does not reach the next."""
        self.assertEqual(
            addresses(['"Al <a@x.org>', "b@x.org"]), (Address("a@x.org", "Al"), Address("b@x.org"))
        )
        self.assertEqual(addresses(["Doe", "John <a@x.org>"]), (Address("a@x.org", "John"),))
        self.assertEqual(addresses([]), ())

    def test_raw_octets(self):
        """Octets beyond ASCII are read before commas and quotes are looked for, in words too."""
        cases = (
            ("J\udcfcrgen <j@x.org>", "", "Jürgen"),
            ("J\udcc3\udcbcrgen <j@x.org>", "koi8-r", "Jürgen"),
            ("\udcf0\udcd2 <j@x.org>", "koi8-r", "Пр"),
            ("\udc83\\\udc95@ <j@x.org>", "shift_jis", "ソ旧".replace("旧", b"\x95@".decode("cp932"))),
            ('\x1b$B","$\x1b(B <j@x.org>', "", b'\x1b$B","$\x1b(B'.decode("iso2022_jp", "replace")),
            ("=?iso-8859-1?q?J\udcfcrgen?= <j@x.org>", "koi8-r", "Jürgen"),
        )
        for value, guess, name in cases:
            with self.subTest(value):
                self.assertEqual(pairs(value, guess), [("j@x.org", name)])

    def test_three_thousand(self):
        """A list of thousands of mailboxes is read whole."""
        value = ", ".join(
            f'"User, {n}" <user{n}@x.org>, =?utf-8?q?=C3=BC{n}?= <u{n}@x.org>' for n in range(1500)
        )
        found = pairs(value)
        self.assertEqual(len(found), 3000)
        self.assertEqual(found[-2:], [("user1499@x.org", "User, 1499"), ("u1499@x.org", "ü1499")])


class BoundTests(SynchronousTestCase):
    def test_caps(self):
        """So many mailboxes are read, of addresses and names that are no longer than any that is one."""
        self.assertEqual(len(addresses(["a@x.org, " * (MAX_ADDRESSES + 1), "b@x.org"])), MAX_ADDRESSES)
        self.assertEqual(pairs(f"{'a' * MAX_ADDRESS}@x.org, b@x.org"), [("b@x.org", "")])
        self.assertEqual(len(pairs(f"{'a' * MAX_NAME}bc <b@x.org>")[0][1]), MAX_NAME)

    @settings(max_examples=150, deadline=None)
    @given(
        st.lists(FRAGMENTS | st.text(max_size=3), max_size=25).map("".join),
        st.sampled_from(["", "shift_jis", "koi8-r"]),
    )
    def test_anything(self, value, guess):
        """Nothing makes it fail; each address has two sides, and name and address are one line of UTF-8."""
        for found in addresses([value], guess):
            local, _, domain = found.address.rpartition("@")
            self.assertTrue(local and domain)
            for text in (found.address, found.name):
                self.assertIsInstance(text.encode(), bytes)
                self.assertEqual(len(f"x{text}x".splitlines()), 1)
            self.assertIsInstance(comparison_key(found.address), str)

    def test_cost(self):
        """The cost is that of one pass, whatever has no end."""
        piece = (
            *(
                "@",
                "@ ",
                "(",
                "()",
                ")",
                '"',
                "<",
                '<"',
                '<"\\',
                "<@",
                ",",
                "a,",
                ":",
                ";",
                "\\",
                '"\\',
                "(\\",
                '""@',
                "[a@",
                "a.",
                "=?",
            ),
            *(
                '"a@x>,"b',
                "=?a?q?x?=",
                "=?a?q?x@?=",
                "=?a?q?x@?=, ",
                "\udcc3\udca9;, ",
                "(a), ",
                "a b@x ",
                "g:a@x;",
                "a@",
                "a@x, ",
            ),
            *(
                "Al Bo <a@x.org>, ",
                '"Al, Bo" <a@x.org>, ',
                "=?utf-8?q?J=C3=BC?= <a@x.org>, ",
                "Al, Bo <a@x.org>, ",
                "Al <a@x ",
            ),
        )
        makers = {
            **{one: lambda size, one=one: one * size for one in piece},
            "deep": lambda size: "(" * size + ")" * size,
            "open": lambda size: '"' + "a@x, " * size,
            "colons": lambda size: ":" * size + ";",
            "name": lambda size: "a " * size + "<a@x>",
            "blanks": lambda size: "a" + " " * size + "@x" + " " * size + ",",
            "blanks in brackets": lambda size: "<" + " " * size,
        }
        for name, make in makers.items():
            with self.subTest(name):
                self.assertLessEqual(growth(lambda value: addresses([value]), make, largest=50_000), LIMIT)


class KeyTests(SynchronousTestCase):
    def test_same(self):
        """Spellings of one address have one key."""
        same = (
            (
                "k@xn--bcher-kva.example",
                "k@bücher.example",
                "K@BÜCHER.example.",
                '"k"@b\u00fccher\u3002example',
                "k@bu\u0308cher.example",
            ),
            ("a@xn--fa-hia.de", "A@faß.DE"),
            ("k\u00e4the@x.org", "ka\u0308the@X.ORG", "KÄTHE@x.org"),
            ("a@xn--n3h.net", "a@☃.net"),
            ("a@a_b.xn--tda.de", "a@A_B.ü.de"),
            ('"a b"@x.org', '"a\\ b"@x.org'),
        )
        for spellings in same:
            with self.subTest(spellings[0]):
                self.assertEqual(
                    {comparison_key(spelling) for spelling in spellings}, {comparison_key(spellings[0])}
                )

    def test_different(self):
        """Others have others."""
        keys = [
            "a@x.org",
            "b@x.org",
            "a@y.org",
            "a@x.org.org",
            "a@fass.de",
            "a@faß.de",
            "a@bücher.de",
            "a@bucher.de",
            "a",
            "",
            "a@",
        ]
        self.assertEqual(len({comparison_key(key) for key in keys}), len(keys))

    @settings(deadline=None)
    @given(st.text(max_size=20) | st.text("xn-ü.@aß\u0308\u202e。\ud800", max_size=80))
    def test_anything(self, address):
        """Nothing makes it fail, and the key of a key is itself."""
        self.assertIsInstance(comparison_key(address), str)

    def test_cost(self):
        """Neither a long domain nor a long local part costs more than its length."""
        for make in (
            lambda size: "a@" + "ü" * size,
            lambda size: "a@" + "ü." * size,
            lambda size: "ü" * size + "@x",
            lambda size: "a" + "\u0308\u0323" * size + "@x",
            lambda size: "a@xn--" + "a" * size,
        ):
            self.assertLessEqual(growth(comparison_key, make), LIMIT)
