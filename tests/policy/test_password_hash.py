"""Password hashes as they lie in the configuration."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.password_hash import hash_password, parse_hash

SALT = bytes(range(16))


class PasswordsTests(SynchronousTestCase):
    def test_what_was_hashed_is_verified(self):
        """The password fits its hash; others do not, however alike."""
        known = parse_hash(hash_password(b"s3cret", SALT, ln=4))
        self.assertTrue(known.verify(b"s3cret"))
        for wrong in (b"", b"s3cre", b"s3crets", b"S3cret"):
            self.assertFalse(known.verify(wrong), wrong)

    def test_the_usual_costs_work(self):
        """The default costs, which need more memory than OpenSSL allows unasked, are usable."""
        text = hash_password(b"s3cret", SALT)
        self.assertTrue(text.startswith("$scrypt$ln=15,r=8,p=1$AAECAwQFBgcICQoLDA0ODw$"))
        self.assertTrue(parse_hash(text).verify(b"s3cret"))

    def test_rfc_7914_vector(self):
        """The third vector of RFC 7914 §12, in the form of the configuration, with padding."""
        known = parse_hash(
            "$scrypt$ln=14,r=8,p=1$U29kaXVtQ2hsb3JpZGU=$"
            "cCO9yzr9c0hGHAbNgf046/2o+7qQT44+qbVD9lRdofLVQylVYT8Pz2LUlwUkKpr55h6F3A1lHkDfzwF7RVdYhw=="
        )
        self.assertTrue(known.verify(b"pleaseletmein"))

    def test_text_is_kept(self):
        """What was read is written the same."""
        text = hash_password(b"s3cret", SALT, ln=4, r=2, p=3)
        self.assertEqual(str(parse_hash(text)), text)

    def test_nothing_secret_is_shown(self):
        """Neither salt nor hash is in the repr, nor the line itself in an error."""
        text = hash_password(b"s3cret", SALT, ln=4)
        self.assertNotIn("salt", repr(parse_hash(text)))
        with self.assertRaises(ValueError) as caught:
            parse_hash(text.replace("scrypt", "bcrypt"))
        self.assertNotIn(text[-20:], str(caught.exception))

    def test_bad_lines_are_refused(self):
        """Other schemes, costs that would take the machine, and short salts or hashes are errors."""
        good = hash_password(b"s3cret", SALT, ln=4)
        salt, digest = good.split("$")[3:]
        for bad in (
            "",
            "s3cret",
            good + "\n",
            good + "$",
            f"$scrypt$ln=0,r=8,p=1${salt}${digest}",
            f"$scrypt$ln=4,r=0,p=1${salt}${digest}",
            f"$scrypt$ln=20,r=8,p=1${salt}${digest}",
            f"$scrypt$ln=99,r=99,p=99${salt}${digest}",
            f"$scrypt$ln=4,r=8,p=1$AAAA${digest}",
            f"$scrypt$ln=4,r=8,p=1${salt}$AAAA",
            f"$scrypt$ln=4,r=8,p=1${salt}a$A",
        ):
            with self.assertRaises(ValueError, msg=bad):
                parse_hash(bad)

    def test_a_cut_hash_is_said_to_be_cut(self):
        """However much is missing at its end, and never with a part of it in the error."""
        whole = hash_password(b"s3cret", SALT, ln=4)
        for cut in range(1, len(whole) - len("$scrypt$ln=4")):
            error = self.assertRaises(ValueError, parse_hash, whole[:-cut])
            self.assertIn("cut off", str(error))
