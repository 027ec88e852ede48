"""Message ids: readable, in order of time, not to be guessed."""

from secrets import randbits

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.model.message_id import canonical, new_id


class IdentityTests(SynchronousTestCase):
    def test_later_ids_sort_later(self):
        """Ids of different milliseconds are in the order of time, as text."""
        ids = [new_id(1_700_000_000 + step / 1000, lambda _bits: 5) for step in range(5000)]
        self.assertEqual(sorted(ids), ids)

    def test_it_is_the_time_and_then_chance(self):
        """Nine characters of milliseconds, seven of random bits, in Crockford's base32."""
        self.assertEqual(
            new_id(1_700_000_000.123, lambda _bits: 0b00001_00010 << 25 | 31), "1HF7YAT3V120000Z"
        )

    def test_ids_of_one_moment_differ(self):
        """What is random in an id keeps those of the same millisecond apart."""
        ids = {new_id(1.0, randbits) for _ in range(1000)}
        self.assertEqual(1000, len(ids))

    def test_an_id_has_no_letter_that_is_mistaken(self):
        """Sixteen characters, none of which is I, L, O or U."""
        text = new_id(1_700_000_000.0, randbits)
        self.assertRegex(text, r"^[0-9A-HJKMNP-TV-Z]{16}$")

    def test_what_a_person_writes_is_understood(self):
        """Lower case, dashes, and letters for digits mean the same id."""
        self.assertEqual("1M7W0CAW1", canonical("1m7w-OcawL"))
