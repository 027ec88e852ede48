"""The reference in ``docs`` is made from the settings classes."""

from twisted.trial.unittest import SynchronousTestCase

from docs.reference import ROOT, reference
from smtprelay.config import Config
from smtprelay.config.setting import all_settings


class ReferenceTests(SynchronousTestCase):
    def test_current(self) -> None:
        """The page in ``docs`` is what ``make reference`` writes."""
        page = (ROOT / "docs" / "reference.rst").read_text("utf-8")
        self.assertTrue(page == reference(), "docs/reference.rst is not current: run make reference")

    def test_every_key(self) -> None:
        """It has every setting, each with its type, default, example and variable."""
        page = reference()
        shown = list(all_settings(Config))
        parts = {part.partition("``\n")[0]: part for part in page.split("\n``")}
        for each in shown:
            part = parts[each.key]
            labels = () if each.classes else ("type", "default", "example", "variable")
            self.assertEqual([label for label in labels if f"\n   :{label}: " not in part], [], each.key)
