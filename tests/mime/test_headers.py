"""A light look at headers gives an answer for whatever bytes there are."""

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime import headers


class HeadersTests(SynchronousTestCase):
    def test_the_block_ends_at_the_empty_line(self):
        """The body is not looked at."""
        self.assertEqual(b"A: 1\r\nB: 2\r\n", headers.block(b"A: 1\r\nB: 2\r\n\r\nC: 3\r\n"))

    def test_a_message_may_have_no_header_or_no_body(self):
        """An empty header block, and a message that is all header."""
        self.assertEqual(b"", headers.block(b"\r\nbody"))
        self.assertEqual(b"A: 1", headers.block(b"A: 1"))

    def test_fields_are_unfolded_and_in_order(self):
        """A folded value is one line; the order is that of the message."""
        pairs = headers.fields(b"To: a@b,\r\n c@d\r\nSubject : x\r\nnonsense\r\nto: e@f\r\n")
        self.assertEqual([("To", "a@b, c@d"), ("Subject", "x"), ("to", "e@f")], pairs)

    def test_the_first_in_any_case(self):
        """Names are compared without case, and the first field of a name counts."""
        head = headers.Head(b"to: x\r\nSubjects: 0\r\nSUBJECT : 1\r\n 2\r\nSubject: 3\r\n")
        self.assertEqual(("1 2", ""), (head.first("subject"), head.first("Date")))

    @given(st.text("aA:\r\n\t \xe9", max_size=40).map(str.encode), st.sampled_from(["a", "aA", "b"]))
    def test_one_field_is_found_as_among_all(self, block, name):
        """Looking for one field gives what taking all of them apart would give; so does looking at all."""
        pairs, head = headers.fields(block), headers.Head(block)
        found = [value for key, value in pairs if key.lower() == name.lower()]
        self.assertEqual([*found, ""][0], head.first(name))
        self.assertEqual((pairs, len(pairs), pairs[:1]), (list(head), len(head), head[:1]))

    def test_eight_bit_values_are_read(self):
        """UTF-8 is UTF-8, and anything else is Latin-1 rather than an error."""
        pairs = headers.fields("A: é\r\n".encode() + b"B: \xe9\r\n")
        self.assertEqual([("A", "é"), ("B", "é")], pairs)

    def test_a_long_line_without_a_colon_costs_no_more_than_its_length(self):
        """What is no header field is passed over line by line, not from each of its bytes anew."""
        self.assertEqual([("A", "1")], headers.fields(b"x" * 5_000_000 + b"\r\nA: 1\r\n"))

    def test_encoded_words_become_readable(self):
        """RFC 2047 is decoded; what only looks like it is shown as it stands."""
        self.assertEqual("Grüße", headers.readable("=?utf-8?q?Gr=C3=BC=C3=9Fe?="))
        self.assertEqual("=?nonsense?q?x?=", headers.readable("=?nonsense?q?x?="))
        self.assertEqual("a b", headers.readable("a\x1b\r\nb"))

    @given(st.binary(max_size=300))
    def test_no_bytes_are_too_strange(self, head):
        """Any bytes give pairs of printable-by-way-of-readable text, and nothing is raised."""
        for _, value in headers.fields(headers.block(head)):
            self.assertNotIn("\n", headers.readable(value))
