"""Quoted lines of a configuration hide secrets, and nothing else."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.problem import render
from smtprelay.config.quoted_lines import LONGEST, masked
from tests.config.loading import problems_of, with_provider

SHOWN = """\
    tls: {certificate: cert.pem, key: key.pem, require: auth}
  key: /etc/ssl/private/relay.key
  key: ../certs/key.pem
proxy_trust: [10.0.0.0/8]
    endpoint: "tcp:2525:interface=127.0.0.1"
    allow_from: [127.0.0.0/8, ::1]
allow_from: ["fe80::1"]
password: {file: /run/secrets/pw}
password: ${PW}
seal_key: {credential: seal}
    control_socket: /run/x.sock
access_keys: [{file: k1}, {file: k2}]
tokens: [{name: ops, role: operator}]
- {name: x, path: /a/b}
proxy: http://proxy.example:3128
proxy: proxy.example:3128
proxy: {file: /run/secrets/proxy}
password:
tls required
- name bob
"""

HIDDEN = """\
password: hunter2 x
password: a: hunter2
password: "abc"hunter2
password:hunter2
PASSWORD: hunter2
"password": "hunter2"
secret : hunter2
client-secret: hunter2
pasword: hunter2
connection_sting: hunter2
connection_string: endpoint=https://x.example/;accesskey=hunter2==
access_keys: [aGVsbG8=, hunter2=]
- {name: u, password: "a, }hunter2", senders: [a@b]}
{username: u, password: 'it''s hunter2', host: h}
{name: ops, hash: "$scrypt$ln=15,r=8,p=1$hunter2$x", role: operator}
key: hunter2c2VjcmV0==
key: /hunter2+c2VjcmV0==
url: https://hooks.example/T0/hunter2
url: postgresql://u:hunter2@db/mail
{url: "postgresql://u:hunter2@db/mail", engine: postgres}
url: hunter2
proxy: http://u:hunter2@proxy:80
proxy: u:hunter2@proxy:80
{proxy: "u:hunter2@proxy:80", ca: x.pem}
password hunter2
- password_hash = hunter2
    "connection_string"=endpoint=https://x.example/;accesskey=hunter2==
secret hunter2: x
"""


class MaskingTests(SynchronousTestCase):
    def test_shown(self) -> None:
        """Paths, endpoints, networks, and where a secret is: an operator has to see them."""
        for line in SHOWN.splitlines():
            self.assertEqual(masked([line], 0), line)

    def test_hidden(self) -> None:
        """A secret is not shown, however it is written; each character leaves a dot."""
        for line in HIDDEN.splitlines():
            shown = masked([line], 0)
            self.assertNotIn("hunter2", shown)
            self.assertEqual(len(shown), len(line))

    def test_what_stands_beside_a_secret(self) -> None:
        """What comes before it is shown, and the host of a URL; nothing behind it."""
        for line, shown in {
            "x: {host: a.b, key: k.pem, password: ab, c: d}": "x: {host: a.b, key: k.pem, password: ",
            'x: {url: "https://h.example/secret", a: b}': 'x: {url: "https://h.example',
            "password: x://hunter2": "password: ",
        }.items():
            self.assertEqual(masked([line], 0), shown.ljust(len(line), "•"))

    def test_lines_without_a_key(self) -> None:
        """An item of a list, or a line of a longer text, belongs to the key above it."""
        lines = ["access_keys:", "  - one", "  - two", "secret:", "- three", "password: |", "  four"]
        lines += ["allow_from:", "  - 10.0.0.0/8", "- five"]
        shown = [masked(lines, number) for number in range(len(lines))]
        self.assertEqual(shown[1:3], ["  - •••", "  - •••"])
        self.assertEqual(shown[4:7], ["- •••••", "password: •", "  ••••"])
        self.assertEqual(shown[8:], lines[8:])

    def test_passwords_by_name(self) -> None:
        """Who writes names with passwords as users or tokens has the passwords hidden; the rest is shown."""
        for text in (
            "users:\n  bob: hunter2\n  eve: hunter2",
            "users:\n  - bob: hunter2\n  - eve:hunter2",
            "users: {bob: hunter2, eve: hunter2}",
            "users: [{bob: hunter2}]",
            "    tokens:\n      ops: hunter2",
            "tokens: {ops: hunter2}",
            "users:\n  # these: all\n  - bob: hunter2",
            "users:\n  bob:\n    hunter2\n  eve:\n    - hunter2",
        ):
            lines = text.splitlines()
            self.assertNotIn("hunter2", "".join(masked(lines, number) for number in range(len(lines))), text)
        self.assertEqual(masked(["users:", "  bob: hunter2"], 1), "  bob: •••••••")

    def test_others_within(self) -> None:
        """Settings of users are shown, misspelt ones too, and what is far from any key above."""
        users = [
            "users:",
            "  - name: bob",
            "    sender: [a@b.test]",
            "  - {name: eve, rate: 5/h}",
            "workers: 1",
        ]
        routes = ["routes:", *["  - {name: a, via: [b]}"] * 300, "hostname: x"]
        for lines in (users, routes):
            self.assertEqual([masked(lines, number) for number in range(len(lines))], lines)

    def test_far_from_its_key(self) -> None:
        """Where the key is too far above, a line is hidden to be safe; a long one is cut."""
        lines = ["access_keys:", *["  - hunter2"] * 5000]
        self.assertEqual(masked(lines, 5000), "  - •••••••")
        self.assertEqual(len(masked(["a" * 1_000_000], 0)), LONGEST)


class SentenceTests(SynchronousTestCase):
    def test_sentences(self) -> None:
        """What is hidden where a line is quoted is not in the sentence about it either; a key is."""
        for setting in (
            "password: *HunterTwo99",
            'password: "a${HunterTwo99"',
            "passwd: HunterTwo99",
            "smtpPassword: HunterTwo99",
            "host: smtp://u:HunterTwo99@h.example",
            "host: smtp://u:a@HunterTwo99@h.example",
        ):
            host = "" if setting.startswith("host") else "host: mail.test, "
            text = with_provider(f"type: smarthost, {host}{setting}")
            told = "\n".join(render(problem) for problem in problems_of(text))
            self.assertIn("error", told, setting)
            self.assertNotIn("HunterTwo99", told)
