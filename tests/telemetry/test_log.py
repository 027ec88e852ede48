"""The log: one line an event, whatever the fields hold."""

import io
import json
import os
from datetime import UTC, datetime

from hypothesis import example, given
from hypothesis import strategies as st
from twisted.internet.task import Clock
from twisted.logger import Logger, LogLevel, LogPublisher
from twisted.python.failure import Failure
from twisted.trial.unittest import SynchronousTestCase

from smtprelay.telemetry.log import EVENTS, Fanout, Levels, Log, make_observer
from smtprelay.telemetry.log_format import json_line, timestamp
from smtprelay.telemetry.log_writer import MOST_KEPT, LogWriter, stream_of

QUEUED = {
    "message": "7QK2",
    "listener": "lan",
    "client": "10.0.3.17",
    "sender": "scan@example.com",
    "recipients": "anna@example.com",
    "size": 10240,
}


class Terminal(io.BytesIO):
    def isatty(self):
        return True


class Written:
    """A log on a stream of its own."""

    def __init__(
        self,
        format: str = "json",  # noqa: A002
        *,
        levels: Levels | None = None,
        stream: io.BytesIO | None = None,
    ) -> None:
        self.stream = stream or io.BytesIO()
        self.levels = levels or Levels()
        self.publisher = LogPublisher(make_observer(self.stream, format, self.levels))
        self.log = Log(self.levels, self.publisher)

    @property
    def text(self):
        return self.stream.getvalue().decode()

    @property
    def lines(self):
        return self.text.splitlines()

    @property
    def objects(self):
        return [json.loads(line) for line in self.lines]


class JsonTests(SynchronousTestCase):
    def test_an_event_is_one_flat_object(self):
        """The head comes first, the message is a sentence, the fields follow as they are."""
        written = Written()
        written.log("message.queued", **QUEUED)
        (line,) = written.objects
        self.assertEqual(list(line)[:4], ["ts", "level", "event", "msg"])
        self.assertEqual((line["level"], line["event"]), ("info", "message.queued"))
        self.assertEqual(
            line["msg"],
            "7QK2: queued from <scan@example.com> to anna@example.com (10240 bytes, 10.0.3.17 on lan)",
        )
        self.assertEqual(line["size"], 10240)
        self.assertEqual({name: line[name] for name in QUEUED}, QUEUED)

    def test_the_time_is_utc_with_milliseconds(self):
        """``ts`` is ISO 8601 with a Z."""
        stream = io.BytesIO()
        observer = make_observer(stream, "json")
        observer(
            {
                "log_time": 1_790_000_000.0625,
                "log_level": LogLevel.warn,
                "log_format": "x",
                "log_namespace": "n",
            }
        )
        self.assertEqual(json.loads(stream.getvalue())["ts"], "2026-09-21T14:13:20.062Z")

    @example("\x7f", "\x7f")
    @given(st.text(), st.text(st.characters(max_codepoint=0x2030), max_size=40))
    def test_no_field_breaks_the_line(self, sender: str, recipients: str):
        """Any text, control characters and lone surrogates included, leaves one parsable ASCII line."""
        written = Written()
        written.log("message.queued", **{**QUEUED, "sender": sender, "recipients": recipients})
        raw = written.text
        self.assertEqual((raw.count("\n"), raw.isascii(), raw[:-1].isprintable()), (1, True, True))
        self.assertEqual(json.loads(raw)["sender"], sender)

    def test_an_exception_is_one_string(self):
        """``exc`` is the flattened traceback; the message only names its last line."""
        for error in (ValueError("no such\nkey"), Failure(ValueError("no such\nkey"))):
            written = Written()
            written.log("attempt.crashed", delivery="7QK2.1", attempt=1, provider="acs", exc=error)
            (line,) = written.objects
            self.assertIn("ValueError: no such\nkey", line["exc"])
            self.assertNotIn("Traceback", line["msg"])

    def test_a_long_traceback(self):
        """However deep the calls were and however much was said, the line is short and says what it was."""

        def descend(levels: int) -> None:
            if levels:
                ascend(levels)
            raise ValueError("x" * 100_000 + " the end")

        def ascend(levels: int) -> None:
            descend(levels - 1)

        failure = None
        try:
            descend(200)
        except ValueError as error:
            failure = Failure(error)
        text = failure.getTraceback()
        for told in (failure.value, failure, text):
            written = Written()
            written.log("attempt.crashed", delivery="7QK2.1", attempt=1, provider="acs", exc=told)
            (line,) = written.objects
            self.assertLess(len(line["exc"]), 10_000)
            self.assertIn("the end", line["exc"][-20:])

    def test_a_missing_or_odd_field_does_not_raise(self):
        """A line still comes, with what there is."""
        written = Written()
        written.log("message.held", delivery="7QK2")
        written.log(
            "message.deferred", delivery="7QK2", provider="acs", delay=None, reason="x", recipients="y"
        )
        written.log("message.held", delivery=float("nan"), reason={1: object()})
        self.assertEqual(
            [line["event"] for line in written.objects],
            ["message.held", "message.deferred", "message.held"],
        )
        self.assertIn("delivery=7QK2", written.objects[0]["msg"])

    def test_a_field_cannot_replace_the_head(self):
        """A field called like a key of the head, or like a parameter of emit(), keeps its value aside."""
        written = Written()
        written.log(
            "message.held", delivery="7QK2", reason="x", level="critical", ts="never", format="{", msg="{x}"
        )
        (line,) = written.objects
        self.assertEqual(
            (line["level"], line["level_"], line["ts_"], line["msg_"]), ("warn", "critical", "never", "{x}")
        )

    def test_an_unknown_event_is_a_warning(self):
        """An event that nobody listed is not lost."""
        written = Written()
        written.log("new.event", what="x")
        self.assertEqual(
            {"level": "warn", "event": "new.event", "msg": "new.event what=x", "what": "x"},
            {name: value for name, value in written.objects[0].items() if name != "ts"},
        )

    def test_secrets_are_never_written(self):
        """Fields that are named like a secret are blotted out in every format, nested ones too."""
        sentinel = "hunter2-sentinel"
        for name in (
            "password",
            "client_secret",
            "Authorization",
            "access_key",
            "connection_string",
            "token",
        ):
            for format in ("json", "text"):  # noqa: A001
                written = Written(format)
                written.log("relay.warning", text="x", **{name: sentinel})
                written.log("config.effective", settings={"providers": {"acs": {name: sentinel}}})
                written.log("made.up", **{name: sentinel})
                self.assertNotIn(sentinel, written.text)
                self.assertEqual(len(written.lines), 3)


class TextTests(SynchronousTestCase):
    def test_columns(self):
        """Time, level, event and sentence stand in columns, without colour into a file."""
        written = Written("text")
        written.log("message.queued", **QUEUED)
        written.log("lane.unblocked", provider="acs", lane="")
        first, second = written.lines
        self.assertEqual(first.index("7QK2: queued"), second.index("acs is open"))
        self.assertNotIn("\x1b", first + second)

    def test_a_lane(self):
        """A lane has its name behind that of its provider; the provider's own has none."""
        written = Written()
        for lane in ("", "a@b.org"):
            written.log("lane.blocked", provider="graph", lane=lane, reason="401", until=1.0)
        self.assertEqual(
            [line["msg"] for line in written.objects],
            ["graph is blocked: 401", "graph a@b.org is blocked: 401"],
        )

    def test_control_characters_are_escaped(self):
        """Neither a line of its own nor a command to the terminal gets through."""
        written = Written("text")
        written.log("message.held", delivery="7QK2", reason="x\n2026 info message.delivered\x1b[2J\u202e")
        (line,) = written.lines
        self.assertTrue(line.endswith(r"x\n2026 info message.delivered\x1b[2J\u202e"))

    def test_a_traceback_stands_behind_a_bar(self):
        """Its rows follow, none of which looks like an event."""
        written = Written("text")
        written.log(
            "attempt.crashed", delivery="7QK2.1", attempt=1, provider="acs", exc="Traceback\nKeyError: 'x'"
        )
        self.assertEqual(written.lines[1:], ["    | Traceback", "    | KeyError: 'x'"])

    def test_auto_is_text_in_colour_on_a_terminal_only(self):
        """What a person reads is text, what a program reads is JSON."""
        terminal = Written("auto", stream=Terminal())
        terminal.log("message.held", delivery="7QK2", reason="x")
        self.assertTrue(terminal.lines[0].startswith("\x1b[33m"))
        self.assertTrue(terminal.lines[0].endswith("\x1b[0m"))
        piped = Written("auto")
        piped.log("message.held", delivery="7QK2", reason="x")
        self.assertEqual(piped.objects[0]["event"], "message.held")


class LevelTests(SynchronousTestCase):
    def heard(self, levels: Levels, *events: str):
        written = Written(levels=levels)
        for event in events:
            written.log(event)
        return [line["event"] for line in written.objects]

    def test_below_the_level_nothing_is_written(self):
        """Debug events need debug; what is for the metrics only is never written."""
        events = ("session.open", "message.queued", "smtp.reply", "lane.blocked")
        self.assertEqual(self.heard(Levels(), *events), ["message.queued", "lane.blocked"])
        self.assertEqual(
            self.heard(Levels("debug"), *events), ["session.open", "message.queued", "lane.blocked"]
        )
        self.assertEqual(self.heard(Levels("error"), *events), ["lane.blocked"])

    def test_a_station_covers_its_loggers_and_the_longest_name_wins(self):
        """``smtprelay.smtp`` is about sessions and logins, too, and ``smtprelay.auth`` overrides it."""
        events = ("session.open", "auth.ok", "attempt.started")
        station = Levels("info", {"smtprelay.smtp": "debug"})
        self.assertEqual(self.heard(station, *events), ["session.open", "auth.ok"])
        narrower = Levels("info", {"smtprelay.smtp": "debug", "smtprelay.auth": "warn"})
        self.assertEqual(self.heard(narrower, *events), ["session.open"])
        self.assertEqual(self.heard(Levels("error", {"smtprelay": "debug"}), *events), list(events))

    def test_levels_change_while_it_runs(self):
        """A reload or ``log-level`` takes effect at once."""
        written = Written()
        written.log("session.open")
        written.log.use(Levels("debug"))
        written.log("session.open")
        self.assertEqual(len(written.lines), 1)

    def test_twisteds_own_events_are_lines_too(self):
        """They are called ``twisted``, carry their logger's name, and obey its level."""
        written = Written(levels=Levels("info", {"twisted.names": "error"}))
        Logger("twisted.web", observer=written.publisher).warn("{what} is slow", what="Site")
        Logger("twisted.web", observer=written.publisher).info("starting, which nobody needs to know")
        Logger("twisted.names.dns", observer=written.publisher).warn("timeout")
        Logger("twisted.web", observer=written.publisher).debug("quiet")
        (line,) = written.objects
        del line["ts"]
        self.assertEqual(
            line, {"level": "warn", "event": "twisted", "msg": "Site is slow", "namespace": "twisted.web"}
        )

    def test_an_unhandled_error_is_one_line_with_its_traceback(self):
        """A failure that Twisted reports is flattened into ``exc``."""
        written = Written()
        Logger("twisted", observer=written.publisher).failure("oops", Failure(KeyError("x")))
        (line,) = written.objects
        self.assertEqual((line["level"], line["msg"]), ("critical", "oops"))
        self.assertIn("KeyError: 'x'", line["exc"])


class StraightTests(SynchronousTestCase):
    def test_it_is_the_same_line(self):
        """A log whose only listener is the writer writes what it would have written through Twisted's."""
        events = [
            ("message.queued", QUEUED),
            ("message.held", {"delivery": "x", "reason": "y", "level": "critical", "password": "hunter2"}),
            ("attempt.crashed", {"delivery": "x", "exc": ValueError("no\nsuch key")}),
            ("new.event", {"nested": {"token": "hunter2"}, "what": 1}),
            ("session.open", {"listener": "lan", "client": "c"}),
        ]
        through, straight = Written(), io.BytesIO()
        log = Log(Levels(), make_observer(straight, "json"))
        for event, fields in events:
            through.log(event, **fields)
            log(event, **fields)
        written = [json.loads(line) for line in straight.getvalue().splitlines()]
        self.assertEqual(len(written), 4)
        self.assertEqual(_timeless(written), _timeless(through.objects))
        self.assertNotIn(b"hunter2", straight.getvalue())

    @given(st.integers(0, 4_000_000_000_000))
    def test_every_millisecond_has_its_own_text(self, milliseconds: int):
        """The time of a line is that of the clock, to the millisecond, whatever second was written last."""
        expected = datetime.fromtimestamp(milliseconds // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S")
        self.assertEqual(timestamp(milliseconds / 1000), f"{expected}.{milliseconds % 1000:03}Z")


class Disk(io.BytesIO):
    """Counts what would be system calls; takes no more than ``room`` octets, if that is a number."""

    count = 0
    room: int | None = None

    def write(self, octets):
        self.count += 1
        if self.room == 0:
            raise OSError(28, "No space left on device")
        taken = octets[: self.room]
        self.room = None if self.room is None else self.room - len(taken)
        return super().write(taken)


class TurnTests(SynchronousTestCase):
    def setUp(self):
        self.clock, self.stream = Clock(), Disk()
        self.writer = make_observer(self.stream, "json")
        self.log = Log(Levels(), self.writer)
        self.writer.by_iterations(self.clock)
        self.stream.count = 0

    def test_lines_leave_together(self):
        """Nothing is written before the turn's end, and then everything at once."""
        self.log("relay.stop", reason="x")
        self.log("relay.stop", reason="y")
        self.assertEqual(self.stream.count, 0)
        self.clock.advance(0)
        self.assertEqual((self.stream.count, len(self.stream.getvalue().splitlines())), (1, 2))
        self.log("relay.stop", reason="z")
        self.clock.advance(0)
        self.assertEqual((self.stream.count, self.clock.getDelayedCalls()), (2, []))

    def test_at_the_end_each_line_leaves_at_once(self):
        """What waited leaves when the reactor stops, and what comes then does not wait."""
        self.log("relay.stop", reason="x")
        self.writer.by_iterations(None)
        self.assertEqual(self.stream.count, 1)
        self.log("relay.stop", reason="y")
        self.assertEqual(self.stream.count, 2)

    def test_what_others_log_leaves_at_once(self):
        """It may come from any thread, where nobody can ask for the end of the turn."""
        Logger("twisted.x", observer=LogPublisher(self.writer)).warn("no turn")
        self.assertEqual((self.stream.count, self.clock.getDelayedCalls()), (1, []))


class PipeTests(SynchronousTestCase):
    """A log in a pipe holds up nobody, whoever does not read it."""

    def test_nobody_reads(self):
        """What finds no room is kept, and written whole and in order when it is read again."""
        reads, writes = os.pipe()
        self.addCleanup(os.close, reads)
        self.addCleanup(os.close, writes)
        complaints: list[bytes] = []
        writer = LogWriter(stream_of(writes), json_line, Levels(), complain=complaints.append)
        log = Log(Levels(), writer)
        count = 0
        while writer.trouble is None:
            log("relay.stop", reason=f"{count} " + "x" * 1000)
            count += 1
        self.assertEqual(len(complaints), 1)
        log("relay.stop", reason=f"{count} ")
        read = os.read(reads, 1 << 20)
        self.assertEqual(writer.recovered(), 0)
        lines = (read + os.read(reads, 1 << 20)).splitlines()
        numbers = [int(json.loads(each)["reason"].split()[0]) for each in lines]
        self.assertEqual(numbers, list(range(count + 1)))


class FullDiskTests(SynchronousTestCase):
    """A log that cannot be written raises nothing into the relay."""

    def setUp(self):
        self.stream = Disk()
        self.complaints: list[bytes] = []
        self.writer = LogWriter(self.stream, json_line, Levels(), "/var/log/relay", self.complaints.append)
        self.log = Log(Levels(), self.writer)

    def reasons(self):
        return [json.loads(line).get("reason") for line in self.stream.getvalue().splitlines()]

    def test_one_complaint(self):
        """It says so once, to the person on the standard error and to who asks."""
        self.stream.room = 0
        self.assertIsNone(self.writer.trouble)
        for reason in "xyz":
            self.log("relay.stop", reason=reason)
            Logger("twisted.x", observer=LogPublisher(self.writer)).warn("no turn")
        said = b"smtprelay: the log cannot be written, the relay continues: "
        self.assertEqual(self.complaints, [said + b"/var/log/relay: No space left on device\n"])
        trouble = self.writer.trouble
        assert trouble is not None
        self.assertEqual(trouble.reason, "/var/log/relay: No space left on device")
        self.assertIsNone(self.writer.recovered())

    def test_what_was_kept(self):
        """When there is room again all lines are whole and in order; the end of the trouble is told once."""
        self.stream.room = 100
        self.log("relay.stop", reason="x")
        self.log("relay.stop", reason="y")
        self.assertEqual(len(self.stream.getvalue()), 100)
        self.stream.room = None
        self.assertEqual(
            (self.writer.recovered(), self.writer.recovered(), self.writer.trouble), (0, None, None)
        )
        self.assertEqual(self.reasons(), ["x", "y"])
        self.log("relay.stop", reason="z")
        self.assertEqual(self.reasons(), ["x", "y", "z"])

    def test_what_was_lost(self):
        """So much is kept and no more; then it is told how many lines are missing."""
        self.stream.room = 0
        line = "x" * (MOST_KEPT // 10)
        for _ in range(20):
            self.log("relay.stop", reason=line)
        self.stream.room = None
        lost = self.writer.recovered()
        self.assertEqual((lost, len(self.reasons())), (20 - len(self.reasons()), len(self.reasons())))
        self.assertIn(len(self.reasons()), range(5, 11))

    def test_a_pipe_that_takes_nothing_now(self):
        """A reader that is slow and does not block its writer is trouble that passes."""
        self.patch(self.stream, "write", lambda _octets: None)
        self.log("relay.stop", reason="x")
        self.assertIn(b"Resource temporarily unavailable", self.complaints[0])
        del self.stream.write
        self.assertEqual(self.writer.recovered(), 0)
        self.assertEqual(self.reasons(), ["x"])

    def test_what_is_logged_while_it_is_written(self):
        """What the garbage collector logs meanwhile comes behind it, once."""
        write = self.stream.write

        def collecting(octets):
            self.patch(self.stream, "write", write)
            taken = write(octets[:10])
            self.log("relay.stop", reason="y")
            return taken

        self.patch(self.stream, "write", collecting)
        self.log("relay.stop", reason="x")
        self.assertEqual(self.reasons(), ["x", "y"])

    def test_what_each_event_has(self):
        """A log may add fields of its own to each event."""
        log = Log(Levels(), self.writer, worker=3)
        log("relay.stop", reason="x")
        log.handler_for("relay.stop")({"reason": "y"})
        workers = [json.loads(line)["worker"] for line in self.stream.getvalue().splitlines()]
        self.assertEqual(workers, [3, 3])


def _timeless(lines: list[dict[str, object]]) -> list[dict[str, object]]:
    return [{name: value for name, value in line.items() if name != "ts"} for line in lines]


class TellingTests(SynchronousTestCase):
    def test_all_hear_it_even_if_one_raises(self):
        """The broken listener is reported once for each event, and the others still hear everything."""
        heard: list[tuple[str, dict[str, object]]] = []

        def broken(event: str, /, **_fields: object) -> None:
            raise RuntimeError(event)

        telling = Fanout([broken, lambda event, /, **fields: heard.append((event, fields))])
        for event in ("relay.stop", "relay.stop", "lane.unblocked"):
            telling(event, reason="x")
        self.assertEqual([event for event, _ in heard], ["relay.stop", "relay.stop", "lane.unblocked"])
        self.assertEqual(heard[0][1], {"reason": "x"})
        self.assertEqual(len(self.flushLoggedErrors(RuntimeError)), 2)

    def test_who_can_hear_is_not_called(self):
        """A listener with an ``handler_for`` gets the fields as they are; another one gets them spread."""
        heard: list[tuple[str, dict[str, object]]] = []

        class Hearing:
            def __call__(self, event: str, /, **fields: object) -> None:
                raise AssertionError(event)

            def handler_for(self, event: str):
                return lambda fields: heard.append((event, fields))

        Fanout([Hearing(), lambda event, /, **fields: heard.append((event, fields))])(
            "x.y", event=1, fields=2
        )
        self.assertEqual(heard, [("x.y", {"event": 1, "fields": 2})] * 2)

    def test_who_has_no_ear_for_it(self):
        """A listener is asked once for each kind of event, and told only of those that it wants."""
        asked: list[str] = []
        heard: list[object] = []

        class Choosy:
            def __call__(self, event: str, /, **fields: object) -> None:
                raise AssertionError(event)

            def handler_for(self, event: str):
                asked.append(event)
                return heard.append if event == "lane.unblocked" else None

        telling = Fanout([Choosy(), lambda _event, /, **_fields: None])
        for event in ("relay.stop", "lane.unblocked", "relay.stop", "lane.unblocked"):
            telling(event, reason="x")
        self.assertEqual(asked, ["relay.stop", "lane.unblocked"])
        self.assertEqual(heard, [{"reason": "x"}] * 2)


class TableTests(SynchronousTestCase):
    def test_every_text_is_a_format(self):
        """Each event's text uses named fields only, so that it can be filled in."""
        for event, kind in EVENTS.items():
            self.assertRegex(event, r"^[a-z_]+\.[a-z]+$")
            self.assertNotIn("{}", kind.text)
