from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.config.environment import interpolate

ENVIRON = {"NAME": "value", "EMPTY": "", "NESTED": "${NAME} $$ #: x"}


class InterpolateTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each form gives the variable, its default, or itself."""
        cases = {
            "${NAME}": "value",
            "a ${NAME}/${NAME} b": "a value/value b",
            "${EMPTY}": "",
            "${EMPTY:-default}": "default",
            "${NOPE:-default}": "default",
            "${NOPE:-}": "",
            "${NOPE:-a:-b}": "a:-b",
            "${NAME:?needed}": "value",
            "$${NAME}": "${NAME}",
            "a$$b": "a$b",
            "$$$$": "$$",
            "$NAME $ 5$": "$NAME $ 5$",
            "$scrypt$ln=15,r=8,p=1$c2Fs$aGFzaA==": "$scrypt$ln=15,r=8,p=1$c2Fs$aGFzaA==",
        }
        self.assertEqual({text: interpolate(text, ENVIRON) for text in cases}, cases)

    def test_values_are_not_looked_through_again(self) -> None:
        """What a variable holds stays as it is, also when it looks like a reference."""
        self.assertEqual(interpolate("${NESTED}", ENVIRON), ENVIRON["NESTED"])

    def test_errors(self) -> None:
        """What is unset, unfinished or no name is told in words."""
        cases = {
            "${NOPE}": "the variable NOPE is not set",
            "${EMPTY:?set it to the host}": "the variable EMPTY is not set: set it to the host",
            "${NOPE:?}": "the variable NOPE is not set: it is required",
            "x ${NAME": "is not a reference to a variable",
            "${}": "is not a reference to a variable",
            "${1A}": "is not a reference to a variable",
            "${NAME-x}": "is not a reference to a variable",
        }
        for text, expected in cases.items():
            error = self.assertRaises(ValueError, interpolate, text, ENVIRON)
            self.assertIn(expected, str(error))

    @given(st.text())
    def test_text_without_dollars_is_untouched(self, text: str) -> None:
        """Only a dollar sign means anything."""
        plain = text.replace("$", "")
        self.assertEqual(interpolate(plain, {}), plain)

    @given(st.text())
    def test_doubling_escapes_everything(self, text: str) -> None:
        """Any text survives if each of its dollar signs is doubled."""
        self.assertEqual(interpolate(text.replace("$", "$$"), {}), text)
