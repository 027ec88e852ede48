"""Who gets in: tokens, roles, loopback, the Host, and forged requests."""

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.web.auth import PATIENCE, REMEMBER, WINDOW, Access, Token
from tests.web.asking import Fixture, Response

TOKENS = (
    Token(name="eyes", hash="hash of look", role="viewer"),
    Token(name="ops", hash="hash of do", role="operator"),
)


class TokenTests(SynchronousTestCase):
    def setUp(self):
        self.verified: list[str] = []
        self.fixture = Fixture(access=self.make)

    def make(self, clock: Clock) -> Access:
        return Access(clock, tokens=TOKENS, verify=self.verify)

    async def verify(self, password: str, hashed: str) -> bool:
        self.verified.append(password)
        return hashed == f"hash of {password}"

    def status(self, token: str, **kwargs: str) -> Response:
        return self.fixture.get("/api/v1/status", headers={"Authorization": f"Bearer {token}"}, **kwargs)

    def hold(self, token: str) -> Response:
        headers = {"Authorization": f"Bearer {token}"}
        return self.fixture.post("/api/v1/queue/hold", {"everything": True}, headers=headers)

    def test_no_token_is_401(self):
        """The answer says how to authenticate, and the API was not asked."""
        response = self.fixture.get("/api/v1/queue")
        self.assertEqual((response.status, response.headers["www-authenticate"]), (401, "Bearer"))
        self.assertEqual(self.fixture.spool.calls, [])

    def test_a_wrong_token_is_401(self):
        """Neither another word nor another scheme gets in."""
        self.assertEqual(self.status("guess").status, 401)
        basic = self.fixture.get("/api/v1/status", headers={"Authorization": "Basic do"})
        self.assertEqual(basic.status, 401)

    def test_a_viewer_sees_but_does_not_touch(self):
        """A viewer's token reads the queue; an edit is 403 and reaches nothing."""
        self.assertEqual(self.status("look").json["role"], "viewer")
        response = self.hold("look")
        self.assertEqual(response.status, 403)
        self.assertIn("operator", response.json["error"])
        self.assertEqual(self.fixture.spool.calls, [])

    def test_a_viewer_does_not_read_mail(self):
        """The list of mails is open to a viewer, their content is not."""
        headers = {"Authorization": "Bearer look"}
        self.assertEqual(self.fixture.get("/api/v1/captured", headers=headers).status, 200)
        for path in ("op-1", "op-1/html", "op-1/attachments/0"):
            self.assertEqual(self.fixture.get(f"/api/v1/captured/{path}", headers=headers).status, 403)

    def test_an_operator_edits_under_the_tokens_name(self):
        """The token's name is recorded with the edit."""
        self.assertEqual(self.hold("do").status, 200)
        ((_, edit),) = self.fixture.spool.calls
        self.assertEqual(edit.who, "ops")

    def test_a_good_token_is_not_hashed_again_and_again(self):
        """It is believed for a while, then looked at once more."""
        self.status("do")
        hashed = len(self.verified)
        self.status("do")
        self.assertEqual(len(self.verified), hashed)
        self.fixture.clock.advance(REMEMBER + 1)
        self.status("do")
        self.assertGreater(len(self.verified), hashed)

    def test_guessing_is_slowed_down_per_client(self):
        """After some wrong tokens even the right one waits; another client does not."""
        for number in range(PATIENCE):
            self.assertEqual(self.status(f"guess{number}").status, 401)
        hashed = len(self.verified)
        refused = self.status("do")
        self.assertEqual((refused.status, len(self.verified)), (429, hashed))
        self.assertLessEqual(int(refused.headers["retry-after"]), WINDOW + 1)
        self.assertEqual(self.status("do", peer="10.0.0.2").status, 200)
        self.fixture.clock.advance(WINDOW + 1)
        self.assertEqual(self.status("do").status, 200)

    def test_a_browser_logs_in_with_a_cookie(self):
        """The cookie carries the token where no script can read it, and logout clears it."""
        login = self.fixture.post("/api/v1/login", {}, headers={"Authorization": "Bearer do"})
        cookie = login.headers["set-cookie"]
        self.assertIn("; HttpOnly; SameSite=Strict", cookie)
        pair = cookie.partition(";")[0]
        self.assertEqual(self.fixture.get("/api/v1/status", headers={"Cookie": pair}).json["who"], "ops")
        out = self.fixture.post("/api/v1/logout", {}, headers={"Cookie": pair})
        self.assertIn("=; Path=/; Max-Age=0", out.headers["set-cookie"])

    def test_a_cookie_alone_changes_nothing(self):
        """A forged request has the cookie but not our header: 403."""
        response = self.fixture.post(
            "/api/v1/queue/hold",
            {"everything": True},
            headers={"Cookie": "smtprelay_token=do", "X-Smtprelay-CSRF": ""},
        )
        self.assertEqual((response.status, self.fixture.spool.calls), (403, []))

    def test_odd_cookies_are_no_token(self):
        """Whatever stands in the header, the answer is 401."""
        for cookie in ("smtprelay_token", "a[b]=c; ;;", "smtprelay_token=%ff", "\x7f=;"):
            self.assertEqual(self.fixture.get("/api/v1/status", headers={"Cookie": cookie}).status, 401)

    def test_the_page_may_be_loaded_to_log_in(self):
        """It holds nothing; all it shows comes through the API."""
        self.assertEqual(self.fixture.get("/").status, 200)


class LoopbackTests(SynchronousTestCase):
    def setUp(self):
        self.fixture = Fixture()

    def test_without_tokens_only_this_machine_may_ask(self):
        """Loopback in any spelling is an operator; everybody else gets 403."""
        for peer in ("127.0.0.1", "127.9.9.9", "::1", "::ffff:127.0.0.1"):
            self.assertEqual(self.fixture.get("/api/v1/status", peer=peer).json["role"], "operator")
        for peer in ("10.0.0.1", "::ffff:10.0.0.1", "fe80::1", "unknown"):
            self.assertEqual(self.fixture.get("/api/v1/status", peer=peer).status, 403)

    def test_a_proxy_on_this_machine_does_not_speak_for_the_world(self):
        """What was forwarded is not local, whatever the peer's address."""
        for header in ("X-Forwarded-For", "Forwarded", "Via"):
            response = self.fixture.get("/api/v1/status", headers={header: "203.0.113.5"})
            self.assertEqual(response.status, 403)

    def test_the_host_must_be_ours(self):
        """A name that an attacker bound to 127.0.0.1 is refused, for the page, too."""
        for host in (
            "localhost",
            "LOCALHOST:8080",
            "app.localhost",
            "127.0.0.1:1",
            "[::1]:8080",
            "relay.example.com.",
        ):
            self.assertEqual(self.fixture.get("/api/v1/status", headers={"Host": host}).status, 200, host)
        for host in (
            "evil.example",
            "evillocalhost",
            "relay.example.com.evil.example",
            "127.0.0.1.evil.example",
        ):
            for path in ("/api/v1/status", "/"):
                self.assertEqual(self.fixture.get(path, headers={"Host": host}).status, 421, host)

    def test_probes_need_neither_host_nor_address(self):
        """A kubelet asks an IP address from another machine, or a name of the cluster."""
        for path in ("/livez", "/readyz", "/health", "/metrics"):
            response = self.fixture.get(path, headers={"Host": "relay.cluster.local"}, peer="10.0.0.1")
            self.assertEqual(response.status, 200, path)

    def test_an_edit_needs_our_header(self):
        """A page in the same browser cannot send it without asking first, and is never allowed to."""
        response = self.fixture.post(
            "/api/v1/queue/hold", {"everything": True}, headers={"X-Smtprelay-CSRF": ""}
        )
        self.assertEqual((response.status, self.fixture.spool.calls), (403, []))
        self.assertEqual(self.fixture.ask("OPTIONS", "/api/v1/queue/hold").status, 405)


class ControlTests(SynchronousTestCase):
    def test_the_control_socket_is_full_access(self):
        """Its file's permissions decided: no token, no Host, no header is needed."""
        fixture = Fixture(access=lambda clock: Access(clock, control=True))
        response = fixture.post(
            "/api/v1/queue/hold",
            {"everything": True, "who": "anna"},
            headers={"Host": "anything", "X-Smtprelay-CSRF": ""},
            peer="unknown",
        )
        self.assertEqual(response.status, 200)
        ((_, edit),) = fixture.spool.calls
        self.assertEqual(edit.who, "anna")
