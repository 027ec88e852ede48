"""A pipe where the configuration should be."""

import os

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config import ConfigError, load


class PipeTests(SynchronousTestCase):
    def test_refused(self) -> None:
        """It is an error: to open it would wait for somebody who writes."""
        pipe = self.mktemp()
        os.mkfifo(pipe)
        error = self.assertRaises(ConfigError, load, pipe, {})
        self.assertIn("is a pipe", str(error))
