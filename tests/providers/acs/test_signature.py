from twisted.trial.unittest import SynchronousTestCase

from smtprelay.providers.acs.signature import (
    Credentials,
    content_hash,
    parse_connection_string,
    parse_key,
    signed_headers,
)

KEY = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8="


class SignatureTests(SynchronousTestCase):
    def test_vector(self):
        """The signature is that of Microsoft's own SDK for the same request."""
        digest = content_hash(b'{"senderAddress":"a@x.com"}')
        self.assertEqual(digest, "c2Fe29j4Njf1x9YgQ87tKyxYkamYz3JyJlyOCnUlcEo=")
        headers = signed_headers(
            KEY,
            "POST",
            "/emails:send?api-version=2025-09-01",
            host="contoso.unitedstates.communication.azure.com",
            date="Fri, 20 Nov 2026 09:30:00 GMT",
            digest=digest,
        )
        self.assertEqual(
            headers["Authorization"],
            "HMAC-SHA256 SignedHeaders=x-ms-date;host;x-ms-content-sha256"
            "&Signature=k5USnW4xSRWHsbca0AuDS5rmRI1KbSbC+j19Y31Ocx0=",
        )

    def test_no_content(self):
        """Without a body the hash is that of nothing."""
        self.assertEqual(content_hash(b""), "47DEQpj8HBSa+/TImW+5JCeuQeRkm5NMpJWZG3hSuFU=")


class ConnectionStringTests(SynchronousTestCase):
    def test_as_the_portal_shows_it(self):
        """Endpoint and key are read; the slash at the end and the usual port are dropped."""
        expected = Credentials("https://contoso.europe.communication.azure.com", (KEY,))
        for text in (
            f"endpoint=https://contoso.europe.communication.azure.com/;accesskey={KEY}",
            f" AccessKey={KEY} ; Endpoint=https://Contoso.europe.communication.azure.com:443;\n",
        ):
            with self.subTest(text):
                self.assertEqual(parse_connection_string(text), expected)
        self.assertEqual(expected.host, "contoso.europe.communication.azure.com")

    def test_loopback(self):
        """Plain HTTP is for loopback, where the port belongs to the host."""
        read = parse_connection_string(f"endpoint=http://127.0.0.1:8080/;accesskey={KEY}")
        self.assertEqual((read.endpoint, read.host), ("http://127.0.0.1:8080", "127.0.0.1:8080"))

    def test_mistakes(self):
        """Each mistake is told in words, which never repeat the key."""
        cases = {
            "": "no endpoint",
            f"accesskey={KEY}": "no endpoint",
            "endpoint=https://a.example": "no accesskey",
            "endpoint=https://a.example;accesskey=": "no accesskey",
            f"endpoint=a.example;accesskey={KEY}": "no https:// URL",
            f"endpoint=https://;accesskey={KEY}": "no https:// URL",
            f"endpoint=http://a.example;accesskey={KEY}": "must be https",
            f"endpoint=https://a.example/emails;accesskey={KEY}": "more than a host",
            f"endpoint=https://a.example/accesskey={KEY};accesskey={KEY}": "more than a host",
            f"endpoint=https://u:s3cret@a.example;accesskey={KEY}": "more than a host",
            f"endpoint=https://:s3cret@a.example;accesskey={KEY}": "more than a host",
            f"endpoint=https://a.example#s3cret;accesskey={KEY}": "more than a host",
            f"endpoint=https://a.example:s3cret;accesskey={KEY}": "no https:// URL",
            f"endpoint=https://[s3cret;accesskey={KEY}": "no https:// URL",
            "endpoint=https://a.example;accesskey=s3cr\xe9t": "no base64",
            f"endpoint={KEY};accesskey=https://a.example": "no https:// URL",
            "endpoint=https://a.example;accesskey=s3cret!": "no base64",
        }
        for text, words in cases.items():
            with self.subTest(text):
                error = self.assertRaises(ValueError, parse_connection_string, text)
                self.assertIn(words, str(error))
                self.assertNotIn("s3cret", str(error))
                self.assertNotIn(KEY.lower(), str(error).lower())

    def test_a_key_is_one_key(self):
        """A whole connection string, or what has something beside it, is not taken for an access key."""
        self.assertEqual(parse_key(f" {KEY}\n"), KEY)
        for text in ("", f"endpoint=https://a.example;accesskey={KEY}", f"{KEY};{KEY}", "s3cret!"):
            with self.subTest(text):
                error = self.assertRaises(ValueError, parse_key, text)
                self.assertIn("no base64: copy the whole key", str(error))
                self.assertNotIn(KEY, str(error))
