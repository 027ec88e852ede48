"""The mails that the demo's provider took."""

from attrs import evolve
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.web.captured_mail import LONGEST_TEXT, MOST_IMAGES
from tests.web.asking import MAIL, NOW, Fixture


class CapturedMailTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_the_list(self):
        """One line a mail, with everybody it went to, without its content."""
        self.assertEqual(
            self.fixture.get("/api/v1/captured").json,
            {
                "mails": [
                    {
                        "id": "op-1",
                        "message": "7QK29FMD",
                        "received": NOW,
                        "sender": "scan@example.com",
                        "reply_to": ["app@example.org"],
                        "recipients": ["anna@example.com", "blind@example.com"],
                        "subject": "Scan",
                        "size": 1234,
                        "attachments": 2,
                    }
                ]
            },
        )

    def test_one_mail(self):
        """Headers, both bodies, who got it how, and its attachments without their content."""
        mail = self.fixture.get("/api/v1/captured/op-1").json
        self.assertEqual(mail["headers"], [["X-Env", "test"], ["Reply-To", "app@example.org"]])
        self.assertEqual(
            (mail["to"], mail["cc"], mail["bcc"]), (["anna@example.com"], [], ["blind@example.com"])
        )
        self.assertEqual((mail["text"], mail["html"]), (MAIL.text, MAIL.html))
        self.assertEqual(
            mail["attachments"][0], {"name": "pic.png", "type": "image/png", "size": 4, "content_id": "pic"}
        )

    def test_what_is_not_there_is_404(self):
        """Unknown mails, attachments beyond the last, and numbers that are none."""
        for path in (
            "x",
            "x/html",
            "x/attachments/0",
            "op-1/attachments/2",
            "op-1/attachments/-1",
            "op-1/attachments/²",
        ):
            response = self.fixture.get("/api/v1/captured/" + path.replace("²", "%C2%B2"))
            self.assertEqual(response.status, 404, path)

    def test_what_is_large_is_cut(self):
        """Of a text only so much is shown, and of its images so many octets, however often they occur."""
        image = evolve(MAIL.attachments[0], content=b"x" * (MOST_IMAGES // 3))
        long = "<img src='cid:pic'>" * 10 + "x" * LONGEST_TEXT
        large = evolve(MAIL, text=long, html=long, attachments=(image,))
        self.fixture.sources.captured.get = lambda _id: large
        mail = self.fixture.get("/api/v1/captured/op-1").json
        self.assertEqual(mail["text"], long[:LONGEST_TEXT] + "…")
        self.assertEqual(mail["html"], mail["text"])
        shown = self.fixture.get("/api/v1/captured/op-1/html").body
        self.assertEqual((shown.count(b"data:image"), shown.count(b"cid:pic")), (3, 7))
        self.assertTrue(shown.endswith("…".encode()))

    def test_html_comes_in_a_cage(self):
        """Its own policy: sandboxed, no script, nothing from the network, framed by us alone."""
        response = self.fixture.get("/api/v1/captured/op-1/html")
        policy = response.headers["content-security-policy"].split("; ")
        for rule in (
            "sandbox",
            "default-src 'none'",
            "img-src data:",
            "form-action 'none'",
            "base-uri 'none'",
        ):
            self.assertIn(rule, policy)
        self.assertIn("frame-ancestors 'self'", policy)
        self.assertEqual(response.headers["content-type"], "text/html; charset=utf-8")

    def test_elements_that_connect_by_themselves_are_disarmed(self):
        """A browser connects for these before it asks the policy; however written, they change."""
        html = "<LINK rel=preconnect href=//x><iframe\nsrc=//x></iframe><object/data=//x><links>a <link"
        self.fixture.sources.captured.get = lambda _id: evolve(MAIL, html=html)
        self.assertEqual(
            self.fixture.get("/api/v1/captured/op-1/html").body.decode(),
            "<no-LINK rel=preconnect href=//x><no-iframe\nsrc=//x></iframe><no-object/data=//x>"
            "<links>a <no-link",
        )

    def test_inline_images_are_put_in(self):
        """A ``cid:`` becomes the image itself; one that is unknown, or no image, stays as it is."""
        document = self.fixture.get("/api/v1/captured/op-1/html").body
        self.assertIn(b'src="data:image/png;base64,iVBORw=="', document)
        odd = evolve(MAIL.attachments[0], type='image/png"><script>')
        for mail in (evolve(MAIL, attachments=()), evolve(MAIL, attachments=(odd,))):
            self.fixture.sources.captured.get = lambda _id, mail=mail: mail
            self.assertIn(b'src="cid:pic"', self.fixture.get("/api/v1/captured/op-1/html").body)

    def test_a_mail_without_html_has_no_document(self):
        """404, and ``null`` in its JSON."""
        self.fixture.sources.captured.get = lambda _id: evolve(MAIL, html=None)
        self.assertEqual(self.fixture.get("/api/v1/captured/op-1/html").status, 404)
        self.assertIsNone(self.fixture.get("/api/v1/captured/op-1").json["html"])

    def test_attachments_are_downloads_only(self):
        """Whatever type and name the mail gives, the browser stores it and runs nothing."""
        response = self.fixture.get("/api/v1/captured/op-1/attachments/1")
        self.assertEqual(response.body, b"<script>alert(1)</script>")
        self.assertEqual(response.headers["content-type"], "application/octet-stream")
        self.assertEqual(response.headers["x-content-type-options"], "nosniff")
        self.assertEqual(
            response.headers["content-disposition"],
            "attachment; filename*=UTF-8''ev%22il%0D%0AX%3A%20y%2F%C3%BC.html",
        )

    def test_deleted(self):
        """By their ids, or all of them; one of both must be said."""
        for body in ({}, {"ids": []}, {"ids": ["op-1"], "everything": True}, {"ids": "op-1"}, {"all": True}):
            self.assertEqual(self.fixture.post("/api/v1/captured/delete", body).status, 400, body)
        for body, count in (({"ids": ["x"]}, 0), ({"ids": ["op-1"]}, 1), ({"everything": True}, 0)):
            self.assertEqual(self.fixture.post("/api/v1/captured/delete", body).json, {"count": count}, body)
        self.assertEqual(self.fixture.get("/api/v1/captured").json, {"mails": []})

    def test_without_captured_mail_there_is_none(self):
        """Only the demo has one."""
        fixture = Fixture(captured=None)
        self.assertEqual(fixture.get("/api/v1/captured").status, 404)
        self.assertIs(fixture.get("/api/v1/status").json["captured"], False)
