"""When the spool is full, for how long, and what is said of it."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.spool.receive.capacity import Capacity, CapacityLimits, DiskSpace
from tests.recording import Recording

GIB = 1 << 30
FLOORS = CapacityLimits(bytes=10 * GIB, deliveries=1000, free=0.05)


def disk(*, used: int = 0, left: int = 50 * GIB) -> DiskSpace:
    return DiskSpace(used=used, left=left, whole=100 * GIB)


class LackTests(SynchronousTestCase):
    def capacity(self, deliveries: int, space: DiskSpace) -> Capacity:
        """Return what was measured so."""
        capacity = Capacity(FLOORS, Recording())
        capacity.measured(deliveries, space)
        return capacity

    def test_each_limit(self) -> None:
        """Each is named with what is there and what may be; one byte or message less is no lack."""
        cases = {
            (999, disk()): "",
            (1000, DiskSpace()): "1000 deliveries wait, the limit is 1000",
            (0, disk(used=10 * GIB - 1)): "",
            (0, disk(used=10 * GIB)): "it holds 10.0 GiB, the limit is 10.0 GiB",
            (0, disk(left=5 * GIB)): "",
            (0, disk(left=5 * GIB - 1)): "5.0 GiB are left on its file system, 5.0 GiB shall stay free",
            (0, disk(left=512)): "512 bytes are left on its file system, 5.0 GiB shall stay free",
        }
        for measured, what in cases.items():
            self.assertEqual(self.capacity(*measured).full, what)

    def test_a_message_counts_with_its_size(self) -> None:
        """Room for a small one is not room for a large one."""
        for space in (disk(used=10 * GIB - 1000), disk(left=5 * GIB + 2000)):
            capacity = self.capacity(0, space)
            self.assertIsNone(capacity.refusal(900))
            self.assertIn("limit", capacity.refusal(1100).text)

    def test_unknown_space(self) -> None:
        """Where nobody can tell what is free that floor is none."""
        self.assertIsNone(self.capacity(0, DiskSpace(used=5, left=None, whole=None)).refusal())


class AdmissionTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.events = Recording()
        self.admission = Capacity(FLOORS, self.events)

    def measure(self, messages: int, left: int = 50 * GIB) -> None:
        self.admission.measured(messages, disk(left=left))

    def test_the_reply_names_the_limit(self) -> None:
        """The setting that was reached and its value, but not how much lies here."""
        for messages, space, limit in (
            (1001, disk(), "deliveries is 1000"),
            (1, disk(left=512), "free is 5.0%"),
            (1, disk(used=10 * GIB), "bytes is 10.0GiB"),
        ):
            self.admission.measured(messages, space)
            text = self.admission.refusal().text
            self.assertTrue(text.endswith(f": spool.limit.{limit}"), text)
        self.measure(1)
        self.admission.refuse_all("no disk")
        self.assertNotIn("limit", self.admission.refusal().text)

    def test_it_does_not_flap(self) -> None:
        """Full at the limit, and until it is clearly below; each is told once."""
        said = []
        for messages in (999, 1000, 999, 960, 950, 949, 999, 1001):
            self.measure(messages)
            said.append(self.admission.refusal() is not None)
        self.assertEqual(said, [False, True, True, True, True, False, False, True])
        self.assertEqual(
            [name for name, _ in self.events.heard], ["spool.full", "spool.accepting", "spool.full"]
        )
        self.assertIn("1000 deliveries wait", self.events.of("spool.full")[0]["reason"])

    def test_free_space_comes_back(self) -> None:
        """The floor of the file system is left as clearly."""
        said = []
        for left in (6, 4.9, 5.1, 5.2, 5.3):
            self.measure(1, left=int(left * GIB))
            said.append(bool(self.admission.full))
        self.assertEqual(said, [False, True, True, True, False])

    def test_what_comes_between_two_measurements_counts(self) -> None:
        """Messages that came and ended, and bytes; a new measurement knows of them already."""
        self.measure(998)
        self.admission.count(2, 100)
        self.assertIsNotNone(self.admission.refusal())
        self.admission.count(-60)
        self.assertIsNone(self.admission.refusal())
        self.measure(999)
        self.assertIsNone(self.admission.refusal())
        self.measure(1, left=5 * GIB + 1000)
        self.admission.count(0, 501)
        self.assertIsNotNone(self.admission.refusal())
