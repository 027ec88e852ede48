import getpass
import io

from smtprelay.policy.password_hash import parse_hash
from smtprelay.policy.user_secret import parse_user_hash
from tests.cli.fakes import CommandCase, Terminal


class HashPasswordTests(CommandCase):
    def asked(self, *answers: str) -> None:
        """Have a person answer so."""
        given = iter(answers)
        self.patch(getpass, "getpass", lambda _prompt: next(given))

    def test_from_stdin(self) -> None:
        """One line of stdin becomes a line for the configuration that this password, and no other, opens."""
        ran = self.run_command("hash-password", stdin="correct horse\n")
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertTrue(ran.out.startswith("$scrypt$ln=15,r=8,p=1$"))
        stored = parse_hash(ran.out.strip())
        self.assertEqual(
            [stored.verify(word) for word in (b"correct horse", b"correct horse\n")], [True, False]
        )

    def test_a_pipe_that_stays_open(self) -> None:
        """One line is enough: nobody waits for the end of what is piped."""

        class Open(io.StringIO):
            def read(self, _size: int | None = -1) -> str:
                raise AssertionError("it never ends")

        ran = self.run_command("hash-password", stdin=Open("correct horse\r\nmore"))
        self.assertEqual((ran.status, ran.err), (0, ""))
        self.assertTrue(parse_hash(ran.out.strip()).verify(b"correct horse"))

    def test_salted(self) -> None:
        """The same password never gives the same line."""
        lines = {self.run_command("hash-password", stdin="x\n").out for _ in range(2)}
        self.assertEqual(len(lines), 2)

    def test_scram(self) -> None:
        """With --scram it is a hash that serves SCRAM, too."""
        ran = self.run_command("hash-password", "--scram", stdin="correct horse\n")
        self.assertTrue(ran.out.startswith("$scram-sha-256$i=15000$"))
        self.assertTrue(parse_user_hash(ran.out.strip()).verify(b"correct horse"))

    def test_asked_twice(self) -> None:
        """On a terminal it is asked twice, and not shown."""
        self.asked("Grüße", "Grüße")
        ran = self.run_command("hash-password", stdin=Terminal())
        self.assertTrue(parse_hash(ran.out.strip()).verify("Grüße".encode()))

    def test_differ(self) -> None:
        """Two different answers are no password."""
        self.asked("one", "two")
        ran = self.run_command("hash-password", stdin=Terminal())
        self.assertEqual((ran.status, ran.out), (2, ""))
        self.assertNotIn("one", ran.err)

    def test_empty(self) -> None:
        """An empty password is refused."""
        ran = self.run_command("hash-password", stdin="\n")
        self.assertEqual((ran.status, ran.out), (2, ""))
