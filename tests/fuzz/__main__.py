"""
Feeds octets to the readers of mail, led by the branches that they reach, until the time is over.

``python -m tests.fuzz [SECONDS] [RUNS]``. What fails is written into a file ``crash-…`` or ``timeout-…`` in
``.fuzz``, beside what was found to reach new branches: from there the next run goes on.
"""

import json
import sys
from pathlib import Path

try:
    import atheris
except ImportError as error:
    sys.exit(f"atheris cannot be imported on this Python ({error}): no fuzzing")

from tests.mime.hostile import COSTLY

with atheris.instrument_imports(include=["smtprelay.mime", "smtprelay.providers.acs_request"]):
    from smtprelay.mime import head, headers, outgoing, parse, text
    from smtprelay.providers.acs_request import encoded_size, map_mail

from smtprelay.model.shape import shape_of
from smtprelay.testing.acs_schema import check_send

FOLDER = Path(".fuzz")
HOPS = (outgoing.NextHop(), outgoing.NextHop(eight_bit=False, raw_fields=False))
ADDITIONS = outgoing.Additions(message_id="<a@b.example>", date="x", sender="a@b.example")
PARAMETERS = {
    "recipients": ["a@b.example", "c@d.example"],
    "envelope_sender": "scanner",
    "sender": "noreply@mail.example",
    "domains": ["mail.example"],
    "blind_to": "",
    "without": [],
    "largest": None,
}
#: A mail of this size is read in far less than one second, which is how long one may take.
LONGEST = 4096
SECONDS = 60
RUNS = 1_000_000


def read(octets: bytes) -> None:
    """Read ``octets`` in every way that the relay reads a mail; whatever fails is a find."""
    found = head.head_of(octets)
    head.subject_of(found)
    found.values("To")
    pairs, _ = headers.split(octets)
    for _, value in pairs:
        text.decoded(value, "gb2312")
        text.content_type(value)
        text.disposition(value, "shift_jis")
    text.addresses([value for _, value in pairs], "windows-1251")
    try:
        mail = parse.read(octets)
    except parse.TooComplexError:
        return
    said = [mail.subject, mail.text or "", mail.html or "", *(value for _, value in mail.headers)]
    said += [who.name + who.address for who in (*mail.sender, *mail.reply_to, *mail.to, *mail.cc)]
    said += [part.name + part.content_type + part.content_id for part in mail.attachments]
    "".join(said).encode()
    make_request(octets)
    for hop in HOPS:
        finish(octets, hop)


def make_request(octets: bytes) -> None:
    """Map ``octets`` for ACS; a request that its schema refuses, or that is larger than told, is a find."""
    facts, body = map_mail(octets, PARAMETERS)
    least, most = encoded_size(shape_of(octets), len(PARAMETERS["recipients"]))
    assert least <= facts["size"] <= most
    for made in facts["requests"]:
        check_send(json.loads(body + made["recipients"].encode() + b"}"))


def finish(octets: bytes, hop: outgoing.NextHop) -> None:
    """Finish ``octets`` for a next hop; a line that is too long, or 8-bit where it must not be, is a find."""
    mail = b"\r\n".join(octets.replace(b"\0", b"").splitlines()) + b"\r\n"
    parameters = outgoing.parameters_of(ADDITIONS, hop)
    plan = outgoing.plan_of(*outgoing.plan_mail(mail, parameters))
    if plan.refusal:
        return
    finishing = outgoing.Finishing(plan)
    shape = shape_of(finishing.feed(mail) + finishing.end())
    assert (shape.size, shape.eight_bit) == (plan.size, plan.eight_bit)
    assert not shape.long_lines
    assert hop.eight_bit or not shape.eight_bit


def main(seconds: int = SECONDS, runs: int = RUNS) -> None:
    """Write mails of each costly kind as a first corpus, and go."""
    FOLDER.mkdir(exist_ok=True)
    for n, make in enumerate(COSTLY.values()):
        (FOLDER / f"seed-{n}").write_bytes(make(100)[:LONGEST])
    bounds = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-max_len={LONGEST}",
        "-timeout=1",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={FOLDER}/", str(FOLDER)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
