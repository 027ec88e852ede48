from tests.cli.fakes import CommandCase, FakeRelay, Ran, lane


class ProvidersTests(CommandCase):
    def setUp(self) -> None:
        super().setUp()
        lanes = [
            lane(),
            lane(provider="graph", lane="box", state="blocked", blocked_until=1.8e9, blocked_reason="401"),
            lane(provider="ses", state="suspended", blocked_until=2.5e11, blocked_reason="suspended by x"),
            lane(
                provider="host",
                state="suspended",
                blocked_until=2.5e11,
                blocked_reason="suspended by y",
                resumes=1.8e9,
            ),
            lane(provider="gone", state="unreachable"),
        ]
        answers = {f"POST /api/v1/providers/acs/{what}": (200, {}) for what in ("suspend", "resume", "probe")}
        answers = {name: (200, {"provider": "acs"}) for name in answers}
        self.relay = FakeRelay(self, {"GET /api/v1/providers": (200, {"lanes": lanes}), **answers})

    def providers(self, *argv: str) -> Ran:
        return self.run_command("--endpoint", self.relay.endpoint, "providers", *argv)

    def test_list(self) -> None:
        """Each lane with its state and why."""
        _, first, second, third, fourth, fifth = self.providers("list").out.splitlines()
        self.assertRegex(first, r"^acs +– +ok +0 +12")
        self.assertRegex(second, r"^graph +box +blocked until .* 401$")
        self.assertRegex(third, r"^ses +– +suspended +0 +12 +suspended by x$")
        self.assertRegex(fifth, r"^gone +– +unreachable +0 +12")
        self.assertRegex(fourth, r"^host +– +suspended until 2027-01-1\d .*suspended by y$")

    def test_changes(self) -> None:
        """Each is asked of the relay, with who and why, and told."""
        self.assertEqual(self.providers("suspend", "acs", "--reason", "x").out, "acs is suspended\n")
        self.assertEqual(self.providers("resume", "acs").out, "acs is resumed\n")
        told = self.providers("probe", "acs", "box", "--force").out
        where = f"--endpoint {self.relay.endpoint}"
        self.assertEqual(told, f"acs box is being tried: see smtprelay {where} providers list\n")
        suspend, resume, retry = [asked.body for asked in self.relay.asked]
        self.assertEqual(suspend["why"], "x")
        self.assertTrue(resume["who"])
        self.assertEqual((retry["lane"], retry["force"]), ("box", True))

    def test_for_a_time(self) -> None:
        """The relay is told how long, and a person until when; what is no duration is told: exit 2."""
        ran = self.providers("suspend", "acs", "--for", "2h")
        self.assertRegex(ran.out, r"^acs is suspended until \d{4}-\d\d-\d\d \d\d:\d\d:\d\d\n$")
        self.assertEqual(self.relay.asked[-1].body["for"], 7200.0)
        self.assertEqual(self.providers("suspend", "acs", "--for", "2 sheep").status, 2)

    def test_a_refusal(self) -> None:
        """The relay's sentence is told: exit 1."""
        answers = {"POST /api/v1/providers/acs/probe": (400, {"error": "acs is not blocked"})}
        relay = FakeRelay(self, answers)
        ran = self.run_command("--endpoint", relay.endpoint, "providers", "probe", "acs")
        self.assertEqual(ran, Ran(1, "", "smtprelay: acs is not blocked\n"))

    def test_without_a_relay(self) -> None:
        """Providers are the relay's: nobody there is exit 69."""
        self.assertEqual(self.run_command("--endpoint", self.mktemp(), "providers", "list").status, 69)
