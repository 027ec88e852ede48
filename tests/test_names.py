"""
What modules and classes are called: by terms of the glossary, and compounds of them with plain words.
"""

import ast
import re
from collections import defaultdict
from collections.abc import Iterator
from itertools import pairwise

from twisted.trial.unittest import SynchronousTestCase

from tests.statements import ROOT, statements, trees

#: Words that every Twisted developer or mail administrator knows. Before you add one, look for a term of
#: ``docs/glossary.rst``, or make one.
PLAIN = """
    accept access account acs actions additions address admin admission after agent aggregate and
    anonymous answer answered any api app application applied arrival arriving attachment attention auth
    avatar away aws azure base batch begun body bounds broken bucket budget buffer build bulk busy by
    call certificate chain challenge change channel charset child chunk clear cli clock cloud codecs codes
    collector command complaint complex conditions config connecting connection consistency
    contact container content context controls convertible cookies corrections costly counts cram
    crash credentials cursor cut daemon data database date deadline decoder defaults defer dmarc domain
    deferred deliver delivered deliveries demo detail dialog direct disk dispatch dkim dns dot
    draft driver dsn due duration edit effective encoded end endpoint entra entry env environment error
    errors esmtp example exchange exclusive exit explain export exposition extensions extra
    factory failed fake families family fault feedback field file filesystem filter finding
    finish first fit foreign format found frame from garbled gathered graph group handshake hash head
    health healthcheck heartbeat histogram hop http i id identity import in incoming index inherited init
    inline input interfaces internal interpolate invalid iso item iteration json jwt kept keys known
    labels later level lifeline limit line list literal load locate location lock log logging
    lost mailbox maildir mailgun main maintenance mapped mark markup match memory merge metrics mime missing
    model monitor multipart mx named nameless net network new next no not notification notifier
    number oauth off offline open operation operator options origin original outgoing output overdue
    overlay own page parameter params parse part password path patience patterns pem periodic piece
    plain plan planned platform policy pool port portal postgres prepare printable privacy
    problem process producer profile program protocol proxy query queue quoted range
    reachability reactor reads realm receive recorded recover recovered reference refusal relay
    remedies remedy remote render replies reply report request resend reserve resources response rights
    role root row run runner sasl scalar scan scanner schedule schema scram script search secret
    security selection send sent series service ses setting settlement setup signal signature
    sendmail silence sink site size smarthost smtp smtprelay sockets source space split sqlite start
    state stats status step stop stopped stored streaming structure stuffer sum summary
    suspension systemd table tar targets task tcp telemetry tenant testing text the thread throttle
    time timeout tls to token too traceback transaction transfer transports tree trouble trust
    twisted type unanswered unavailable uncertain unfinishable unit unix unknown unmeasured
    unreachable unreadable unsendable unverified upload url use user value version view visible
    walk watch web webhook window word wrapper write yaml
"""

ENDINGS = ("ings", "ing", "ers", "er", "ed", "es", "s", "or", "e")


def terms() -> Iterator[str]:
    """Give the words of the glossary's terms: each stands on a line above its meaning."""
    lines = (ROOT / "docs" / "glossary.rst").read_text("utf-8").splitlines()
    for line, below in pairwise(lines):
        if re.match("[a-z]", line) and below.startswith("   "):
            yield from words(line)


def words(name: str) -> list[str]:
    """Return the words of a name, in lower case."""
    return [word.lower() for word in re.findall(r"[A-Z]+(?=[A-Z][a-z]|\b|_|$)|[A-Z]?[a-z]+", name)]


def stem(word: str) -> str:
    """Return what a word has in common with its plural and its forms."""
    for ending in ENDINGS:
        if word.endswith(ending) and len(word) > len(ending) + 2:
            return word.removesuffix(ending)
    return word


def classes() -> Iterator[tuple[str, str]]:
    """Give the module and the name of each class."""
    for module, tree in trees().items():
        for node in statements(tree):
            if isinstance(node, ast.ClassDef):
                yield module, node.name


class NameTests(SynchronousTestCase):
    def test_words(self) -> None:
        """The name of each module and class is made of terms of the glossary and of plain words."""
        known = set(map(stem, (*terms(), *PLAIN.split())))
        names = {(module, part) for module in trees() for part in module.split(".")} | set(classes())
        strange = sorted(
            f"{name} in {module}: {word}"
            for module, name in names
            for word in words(name)
            if stem(word) not in known
        )
        self.assertEqual(strange, [])

    def test_one_class_of_a_name(self) -> None:
        """No two classes have the same name, nor one that differs only by an underscore."""
        found: dict[str, list[str]] = defaultdict(list)
        for module, name in classes():
            found[name.lstrip("_")].append(module)
        self.assertEqual({name: where for name, where in found.items() if len(where) > 1}, {})

    def test_rules(self) -> None:
        """Words are found in snake_case and in CamelCase, whatever form they have."""
        self.assertEqual(words("HTTPHandlerOf_mail_data"), ["http", "handler", "of", "mail", "data"])
        self.assertEqual(
            {stem(word) for word in ("retry", "hold", "holds", "held")}, {"retry", "hold", "held"}
        )
