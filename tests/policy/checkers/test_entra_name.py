"""User names of logins at Entra: in both forms, mixed, with what devices append to them."""

import base64
import uuid
from itertools import product

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.policy.checkers.entra_name import (
    application_names,
    lookup_name,
    parse_application,
    parse_id,
    parse_lookup,
)

TENANT, CLIENT = "99999999-8888-7777-6666-555555555555", "11111111-2222-3333-4444-5555555555ff"


def short(text: str) -> str:
    return base64.urlsafe_b64encode(uuid.UUID(text).bytes).decode().rstrip("=")


class ApplicationTests(SynchronousTestCase):
    def test_forms(self) -> None:
        """Each of the two may have either form, with every delimiter, and an ending like that of a domain."""
        for delimiter, tenant, client, end in product(
            "@:|", (TENANT, short(TENANT)), (CLIENT, CLIENT.upper(), short(CLIENT)), ("", ".com", ".a@b.c")
        ):
            found = parse_application(f"{tenant}{delimiter}{client}{end}", delimiter)
            self.assertEqual(found, (TENANT, CLIENT))

    def test_other_names(self) -> None:
        """What is anything else is somebody else's name."""
        for name in (
            *("", "@", "ann", "ann@example.com", TENANT, f"{TENANT}@", f"@{CLIENT}", f"{TENANT}:{CLIENT}"),
            *(
                f"{TENANT}@{CLIENT}@x",
                f"{TENANT}@@{CLIENT}",
                f"{TENANT[:-1]}@{CLIENT}",
                f" {TENANT}@{CLIENT}",
            ),
            *(f"{TENANT}@{short(CLIENT)}=", f"{TENANT}@{short(CLIENT)[:-1]}", f"{TENANT}.x@{CLIENT}"),
            *(f"{{{TENANT}}}@{CLIENT}", f"{TENANT.replace('-', '')}@{CLIENT}", f"{TENANT}@{'é' * 22}"),
        ):
            self.assertIsNone(parse_application(name, "@"), name)

    @given(st.uuids(), st.uuids(), st.sampled_from("@:|"))
    def test_printed(self, tenant: uuid.UUID, client: uuid.UUID, delimiter: str) -> None:
        """The names that are printed are read again, and may be given in either form."""
        ids = str(tenant), str(client)
        names = application_names(*ids, delimiter)
        self.assertEqual([parse_application(name, delimiter) for name in names], [ids, ids])
        self.assertEqual(application_names(*map(short, ids), delimiter), names)
        self.assertEqual(list(map(len, names)), [73, 45])

    @given(st.text(), st.sampled_from("@:|"))
    def test_whatever(self, name: str, delimiter: str) -> None:
        """No name breaks it."""
        for parse in (parse_application, parse_lookup):
            parse(name, delimiter)
        parse_id(name)

    def test_not_printed(self) -> None:
        """What is no id is named."""
        with self.assertRaisesRegex(ValueError, "contoso.com"):
            application_names("contoso.com", CLIENT, "@")


class LookupTests(SynchronousTestCase):
    def test_name(self) -> None:
        """The row is what stands before the delimiter."""
        for name in ("scan1@lookup", "scan1@LOOKUP", "scan1@lookup.example.com"):
            self.assertEqual(parse_lookup(name, "@"), "scan1")
        self.assertEqual(parse_lookup(lookup_name("o'brien", "|"), "|"), "o'brien")

    def test_other_names(self) -> None:
        """Anything else is somebody else's."""
        for name in ("", "scan1", "@lookup", "scan1@lookups", "a@b@lookup", "scan1:lookup", "scan.1@lookup"):
            self.assertIsNone(parse_lookup(name, "@"), name)
