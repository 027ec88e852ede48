"""Types, and the extensions that go with them."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.kinds import extension_for, kind_by_name


class KindTests(SynchronousTestCase):
    def test_extensions(self):
        """A known type has its extension; another may say it, or be a text."""
        for kind, extension in (
            ("application/zip", ".zip"),
            ("application/x-zip-compressed", ".zip"),
            ("application/vnd.openxmlformats-officedocument.wordprocessingml.document", ".docx"),
            ("audio/x-wav", ".wav"),
            ("image/jpg", ".jpg"),
            ("image/jpeg", ".jpg"),
            ("message/rfc822", ".eml"),
            ("image/x-ms-bmp", ".bmp"),
            ("application/x-msexcel", ".xls"),
            ("image/x-abc", ".abc"),
            ("image/x-portable-anymap", ".bin"),
            ("text/x-log", ".txt"),
            ("application/octet-stream", ".bin"),
            ("x/y", ".bin"),
        ):
            with self.subTest(kind):
                self.assertEqual(extension_for(kind), extension)

    def test_types(self):
        """The extension of a name tells the type, in any case; what has none tells nothing."""
        for name, kind in (
            ("a.pdf", "application/pdf"),
            ("A.B.JPEG", "image/jpeg"),
            ("a.jpg", "image/jpeg"),
            ("a.zip", "application/zip"),
            ("a.txt", "text/plain"),
            ("a.htm", "text/html"),
            ("a.wav", "audio/wav"),
            ("a.xml", "application/xml"),
            ("a.eml", "message/rfc822"),
            ("pdf", "application/octet-stream"),
            (".pdf", "application/octet-stream"),
            ("a.nonsense", "application/octet-stream"),
            ("", "application/octet-stream"),
        ):
            with self.subTest(name):
                self.assertEqual(kind_by_name(name), kind)
