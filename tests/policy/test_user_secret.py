"""What users' passwords are checked with, beside scrypt."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.password_hash import PasswordHash, hash_password
from smtprelay.policy.user_secret import ClearPassword, ScramHash, hash_for_scram, parse_user_hash

SEED = b"0123456789abcdef"
LINE = hash_for_scram(b"s3cret", SEED, 4096)


class UserSecretTests(SynchronousTestCase):
    def test_line(self):
        """A line reads back as it was written, and is for one password."""
        self.assertTrue(LINE.startswith("$scram-sha-256$i=4096$MDEyMzQ1Njc4OWFiY2RlZg$"))
        found = parse_user_hash(LINE)
        self.assertIsInstance(found, ScramHash)
        self.assertEqual(str(found), LINE)
        self.assertEqual([found.verify(each) for each in (b"s3cret", b"S3cret", b"")], [True, False, False])
        self.assertNotEqual(found.salt, SEED)
        self.assertIsInstance(parse_user_hash(hash_password(b"x", SEED, ln=4)), PasswordHash)

    def test_bad_lines(self):
        """One that is cut, or costs too little or too much, is refused and not repeated."""
        for line in (
            *(LINE[:-cut] for cut in (1, 2, 60)),
            f"{LINE}A",
            LINE.replace("4096", "4095"),
            LINE.replace("4096", "1000001"),
            LINE.replace("i=", ""),
            "$scram-sha-256$hunter2",
            "hunter2",
        ):
            error = self.assertRaises(ValueError, parse_user_hash, line)
            self.assertNotIn("hunter2", str(error))
            self.assertNotIn(LINE[30:50], str(error))

    def test_recoverable(self):
        """A password in clear text is the one that its file has now."""
        now = ["one"]
        secret = ClearPassword(lambda: now[0])
        self.assertTrue(secret.verify(b"one"))
        now[0] = "two"
        self.assertEqual([secret.verify(each) for each in (b"one", b"two")], [False, True])

    def test_nothing_is_shown(self):
        """No repr has what a password could be guessed by."""
        shown = repr(parse_user_hash(LINE)) + repr(ClearPassword(lambda: "s3cret"))
        for secret in (SEED.decode(), "s3cret"):
            self.assertNotIn(secret, shown)
