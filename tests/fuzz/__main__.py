"""
Feeds octets to what reads those of strangers, led by the branches that they reach, until the time is over.

These are the readers of mail, what rewrites, finishes and signs it, the SMTP session, and frames of the
MIME worker.

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

with atheris.instrument_imports(include=["smtprelay"]):
    from smtprelay.mime import head, headers, outgoing, parse
    from smtprelay.mime.address import addresses
    from smtprelay.mime.dkim.canonical import BodyHash
    from smtprelay.mime.dkim.headers import SIGNED, choose_headers
    from smtprelay.mime.parameters import content_type, disposition
    from smtprelay.mime.rewrite import RewriteRule, parameters_of, rewrite_header
    from smtprelay.mime.text import decoded
    from smtprelay.mime.worker.frames import FACTS, READY, FrameDecoder, FrameError, frame
    from smtprelay.model.route import NextHop
    from smtprelay.model.shape import shape_of
    from smtprelay.providers.acs.request import map_mail
    from smtprelay.providers.json_mail import encoded_size
    from smtprelay.testing.acs_schema import check_send
    from tests.mime.hostile import COSTLY
    from tests.mime.outgoing.finishing import ADDITIONS, ASCII_FIELDS, EIGHT_BIT, SEVEN_BIT, both_said
    from tests.smtp.test_session import Talk, accepted

FOLDER = Path(".fuzz")
HOPS = (EIGHT_BIT, ASCII_FIELDS, SEVEN_BIT)
PARAMETERS = {
    "recipients": ["a@b.example", "c@d.example"],
    "envelope_sender": "scanner",
    "sender": "noreply@mail.example",
    "domains": ["mail.example"],
    "blind_to": "",
    "without": [],
    "largest": None,
}
RULE = {"domain": "b.example", "relaxed": True, "names": list(SIGNED)}
REWRITING = parameters_of(
    (RewriteRule(author="d@b.example", reply_to="header", recipients=(("*", "c@b.example"),)),), "a@b.example"
)
SIGNING = {"rules": [RULE, {**RULE, "relaxed": False}], "replaced": []}
DIALOGUE = (
    b"EHLO x\r\nAUTH PLAIN AGEAYg==\r\nMAIL FROM:<a@b.test> SIZE=9 BODY=8BITMIME\r\nRCPT TO:<c@d.test>\r\n"
    b"DATA\r\nSubject: x\r\n\r\n..\r\n.\r\nRSET\r\nQUIT\r\n"
)
#: All that is done with so many octets takes far less than these seconds, instrumented as it is.
LONGEST = 4096
TIMEOUT = 5
SECONDS = 60
RUNS = 1_000_000


def read(octets: bytes) -> None:
    """Read ``octets`` in every way that the relay reads what comes from others; whatever fails is a find."""
    converse(octets)
    decode_frames(octets)
    sign(octets)
    rewrite(octets)
    found = head.head_of(octets)
    head.subject_of(found)
    found.values("To")
    pairs, _ = headers.split(octets)
    for _, value in pairs:
        decoded(value, "gb2312")
        content_type(value)
        disposition(value, "shift_jis")
    addresses([value for _, value in pairs], "windows-1251")
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


def sign(octets: bytes) -> None:
    """Choose what is signed; if it matters to the hash how a body is cut, that is a find."""
    choose_headers(b"From: a@b.example\r\n" + octets, SIGNING)
    for relaxed in (True, False):
        whole, cut = BodyHash(relaxed=relaxed), BodyHash(relaxed=relaxed)
        whole.feed(octets)
        for at in range(len(octets)):
            cut.feed(octets[at : at + 1])
        assert cut.digest() == whole.digest()


def rewrite(octets: bytes) -> None:
    """Rewrite the header; what is not the same after another time is a find."""
    facts, header = rewrite_header(octets, REWRITING)
    if header:
        again, _ = rewrite_header(header + octets[facts["content"] :], REWRITING)
        assert not again["content"]


def make_request(octets: bytes) -> None:
    """Map ``octets`` for ACS; a request that its schema refuses, or that is larger than told, is a find."""
    facts, body = map_mail(octets, PARAMETERS)
    least, most = encoded_size(shape_of(octets), len(PARAMETERS["recipients"]))
    assert least <= facts["size"] <= most
    for made in facts["requests"]:
        check_send(json.loads(body + made["recipients"].encode() + b"}"))


def finish(octets: bytes, hop: NextHop) -> None:
    """
    Finish ``octets`` for a next hop.

    A line that is too long, 8-bit where it must not be, and a mail that says something else is a find. Lines
    of a stored mail end with CRLF; a NUL may be in one, though the session removes them.
    """
    mail = b"\r\n".join(octets.splitlines()) + b"\r\n"
    parameters = outgoing.parameters_of(ADDITIONS, hop)
    plan = outgoing.plan_of(*outgoing.plan_mail(mail, parameters))
    if plan.refusal:
        return
    finishing = outgoing.Finishing(plan)
    finished = finishing.feed(mail) + finishing.end()
    shape = shape_of(finished)
    assert (shape.size, shape.eight_bit) == (plan.size, plan.eight_bit)
    assert not shape.long_lines
    assert hop.eight_bit or not shape.eight_bit
    before, after = both_said(mail, finished, hop)
    assert before == after


def converse(octets: bytes) -> None:
    """Say ``octets`` as a client; if it matters how they are cut, that is a find."""
    whole, cut = (
        Talk(errors=5, size=1000, mechanisms=("PLAIN",), auth_allow_plaintext=True) for _ in range(2)
    )
    whole.say(octets)
    cut.say(*[octets[at : at + 1] for at in range(len(octets))])
    assert (cut.sent, cut.ended, accepted(cut)) == (whole.sent, whole.ended, accepted(whole))


def decode_frames(octets: bytes) -> None:
    """Take ``octets`` for those of a pipe, at once and one by one."""
    assert frames(octets) == frames(*[octets[at : at + 1] for at in range(len(octets))])


def frames(*pieces: bytes) -> list[tuple[bytes, bytes]]:
    """Return the frames in ``pieces``; what is none ends them."""
    decoder, found = FrameDecoder(), []
    try:
        for piece in pieces:
            found += decoder.feed(piece)
    except FrameError:
        found.append((b"", b""))
    return found


def main(seconds: int = SECONDS, runs: int = RUNS) -> None:
    """Write mails of each costly kind, a dialogue and a frame as a first corpus, and go."""
    FOLDER.mkdir(exist_ok=True)
    seeds = [make(100)[:LONGEST] for make in COSTLY.values()]
    for n, seed in enumerate([*seeds, DIALOGUE, frame(READY) + frame(FACTS, b"{}")]):
        (FOLDER / f"seed-{n}").write_bytes(seed)
    bounds = [
        f"-max_total_time={seconds}",
        f"-runs={runs}",
        f"-max_len={LONGEST}",
        f"-timeout={TIMEOUT}",
        "-verbosity=1",
    ]
    atheris.Setup([sys.argv[0], *bounds, f"-artifact_prefix={FOLDER}/", str(FOLDER)], read)
    atheris.Fuzz()


if __name__ == "__main__":
    main(*map(int, sys.argv[1:]))
