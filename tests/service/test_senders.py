from twisted.trial.unittest import SynchronousTestCase

from smtprelay.service.senders import senders_of
from tests.config.loading import HASH, load_text

CONFIG = f"""\
listeners:
  - name: lan
    endpoint: "tcp:2525:interface=127.0.0.1"
    allow_senders: ["*@a.example", "*", "*@*.b.example"]
users:
  - {{name: printer, password_hash: "{HASH}", force_from: scan@c.example}}
  - {{name: app, password_hash: "{HASH}", senders: [x@C.example, y@d.example]}}
providers:
  one: {{type: capture, path: one}}
  two: {{type: capture, path: two}}
  three: {{type: capture, path: three}}
bounces: {{from: bounces@e.example, via: [three]}}
routes:
  - {{match: {{sender: ["*@f.example"]}}, via: [one]}}
  - {{via: [two], rewrite: {{from: relay@g.example, keep_from_domains: [h.example]}}}}
spool: {{path: spool}}
"""


class SendersTests(SynchronousTestCase):
    def test_by_provider(self) -> None:
        """Routes and their rules decide; of each domain there is one address, of no pattern of domains."""
        config = load_text(CONFIG).config
        one, two, three = (senders_of(config, name) for name in ("one", "two", "three"))
        self.assertEqual((one.envelope, one.authors), (("postmaster@f.example",),) * 2)
        clients = ("scan@c.example", "y@d.example", "postmaster@a.example")
        self.assertEqual(two.envelope, clients)
        self.assertEqual(two.authors, ("relay@g.example", "postmaster@h.example"))
        self.assertEqual(two.all, (*two.authors, *clients))
        self.assertEqual((three.envelope, three.authors), ((), ("bounces@e.example",)))
