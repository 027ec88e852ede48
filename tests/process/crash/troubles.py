"""
What fails around a relay under siege, and what must hold all the same; for the short form and the long one.
"""

import random

from tests.process.crash.siege import Siege
from tests.process.crash.storm import Tally
from tests.process.relay_process import CONFIG, RelayProcess
from tests.process.stage import Stage

ACS = "out: {type: acs, connection_string: {file: acs.key}, sender: a@b.test, accept_on: '202', timeout: 1s}"

#: What a provider may do instead of its work.
MADNESS = (
    ("answers", {"status": 429, "code": "TooManyRequests"}),
    ("answers", {"status": 429, "code": "TooManyRequests", "headers": {"Retry-After": "1"}}),
    ("answers", {"status": 500, "code": "InternalServerError"}),
    ("answers", {"status": 503, "code": "ServiceUnavailable"}),
    ("answers", {"status": 202, "body": None, "headers": {}}),
    ("drops", {"accepting": True}),
    ("drops", {"accepting": False}),
    ("hangs", {"accepting": True}),
    ("hangs", {"accepting": False}),
    ("babbles", {}),
)


class SiegeStage(Stage):
    """Gives each test a siege."""

    async def siege(self, seed: int, *, mails: int, clients: int, spool: str = "path: spool") -> Siege:
        """Return a siege of a relay that delivers to a fake."""
        acs = await self.fake_acs()
        (self.folder / "acs.key").write_text(acs.connection_string())
        config = CONFIG.format(provider=ACS, listener="").replace("path: spool", spool)
        config = config.replace("first: 200ms", "first: 200ms, max: 2s")
        relay = self.ending(RelayProcess(self.folder, config))
        return Siege(relay, acs, random.Random(seed), mails=mails, clients=clients)

    def assert_kept(self, siege: Siege, tally: Tally, seed: int) -> str:
        """See that promises 1 and 2 were; return what was counted."""
        told = f"{tally}; refused {dict(siege.refused)}; not ready {dict(siege.unready)}; seed {seed}"
        self.assertEqual((tally.lost, tally.duplicated, tally.spoilt), ([], [], []), told)
        self.assertEqual((tally.left_over, siege.faults_of_the_spool()), (0, []), told)
        return told


async def failing_disk(siege: Siege, rounds: int = 4) -> None:
    """Refuse writes beyond some size, from all of them to those of a large log, and take them again."""
    for size in range(rounds):
        await siege.wait(0.1, 0.4)
        siege.limit_files(siege.dice.choice((0, 4096, 100_000, 1_000_000)) if size else 0)
        if not size:
            await siege.until_refused()
        await siege.wait(0.3, 1.5)
        await siege.is_ready()
        siege.limit_files()


async def mad_provider(siege: Siege, rounds: int = 2) -> None:
    """Answer garbage, hang, reset and throttle, each for a moment, always or at random; then be well."""
    for _ in range(rounds):
        for act, values in siege.dice.sample(MADNESS, k=len(MADNESS)):
            await siege.acs.go_mad(act, siege.dice.choice((0.1, 0.5, 1.0)), **values)
            await siege.wait(0.1, 0.8)
    siege.madness = await siege.acs.come_to_its_senses()
