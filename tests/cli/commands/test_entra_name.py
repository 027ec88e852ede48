from smtprelay.cli.exit_codes import USAGE
from tests.cli.fakes import CommandCase

TENANT, CLIENT = "99999999-8888-7777-6666-555555555555", "11111111-2222-3333-4444-555555555555"
SHORT = "mZmZmYiId3dmZlVVVVVVVQ@ERERESIiMzNERFVVVVVVVQ"


class EntraUsernameTests(CommandCase):
    def test_both_forms(self) -> None:
        """The name with UUIDs, and the short one; ids in the short form are taken, too."""
        for given in ((TENANT, CLIENT), SHORT.split("@")):
            ran = self.run_command("entra-username", *given)
            self.assertEqual((ran.status, ran.out), (0, f"{TENANT}@{CLIENT}\n{SHORT}\n"))

    def test_delimiter(self) -> None:
        """With the delimiter of the checker."""
        ran = self.run_command("entra-username", "--delimiter", "|", TENANT, CLIENT)
        self.assertIn(f"{TENANT}|{CLIENT}\n", ran.out)

    def test_no_id(self) -> None:
        """What is no id is named."""
        ran = self.run_command("entra-username", "contoso.com", CLIENT)
        self.assertEqual(ran.status, USAGE)
        self.assertIn("contoso.com: not a UUID", ran.err)
