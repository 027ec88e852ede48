"""All that follows from a configuration, before anything of it is used."""

from pathlib import Path
from typing import Any

from twisted.internet.task import Clock
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.dispatch.lane_state import LaneStates
from smtprelay.net.buffer_budget import Budget
from smtprelay.providers.registry import BUILT_IN
from smtprelay.service.build.running import OpenSpool, RelayResources, build
from smtprelay.testing.certificates import make_certificate
from tests.config.loading import load_text
from tests.recording import Recording

CONFIG = """\
hostname: relay.example.com
listeners:
  - {{name: lan, endpoint: "tcp:1", tls: {{certificate: {certificate}, key: {key}}}}}
  - {{name: waiting, endpoint: "tcp:2", delivery: synchronous}}
providers:
  acs: {{type: acs, endpoint: "https://x.org", access_keys: [{{env: K}}], sender: a@x.org}}
  ses: {{type: ses, region: eu-west-1}}
  mailgun: {{type: mailgun, domain: d.org, api_key: {{env: K}}}}
  resend: {{type: resend, api_key: {{env: K}}}}
  smarthost: {{type: smarthost, host: h.org, ca: {certificate}}}
  exchangers: {{type: smarthost, host: mx}}
  tokens:
    {{type: smarthost, host: h, username: u, oauth: {{client_id: c, client_secret: {{env: K}}, tenant: t}}}}
  graph: {{type: graph, tenant: t, client_id: c, client_secret: {{env: K}}}}
  capture: {{type: capture, path: captured}}
routes:
  - via: [acs, graph, ses, mailgun, resend, smarthost, exchangers, tokens, capture]
    on_failed: webhook
webhook: {{url: {{env: HOOK}}}}
bounces: {{delay_notice: 4h}}
spool: {{path: spool}}
"""


class OnlyTheTime:
    """A reactor on another thread: nothing of it may be used there but the time."""

    def seconds(self) -> float:
        return 1.0


class BuildTests(SynchronousTestCase):
    def test_on_a_thread(self) -> None:
        """Whatever is configured, nothing is asked of the reactor but the time."""
        made = make_certificate(Path(self.mktemp()).absolute())
        text = CONFIG.format(certificate=made.certificate, key=made.key)
        config = load_text(text, {"K": "a2V5", "HOOK": "https://x.org/hook"}).config
        self.assertEqual({each.type for each in config.providers.values()}, set(BUILT_IN))
        events = Recording()
        unused: Any = None
        spool: Any = Unasked()
        running = build(
            config,
            RelayResources(
                reactor=OnlyTheTime(),
                events=events,
                threads=Unasked(),
                mime=unused,
                budget=Budget(1 << 20),
                counts=Unasked(),
                log=unused,
            ),
            OpenSpool(
                spool=spool, permits=spool, clock=Clock(), lanes=LaneStates(events), new_id=lambda: "ID"
            ),
        )
        self.assertEqual([each.listener.name for each in running.listeners], ["lan", "waiting"])


class Unasked:
    """Parts whose methods are passed on and not called."""

    def __getattr__(self, name: str) -> Any:
        return Unasked()
