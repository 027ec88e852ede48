"""Frames on a pipe come out as they went in, however the pipe cuts them, and what is none is seen."""

from twisted.trial.unittest import SynchronousTestCase

from smtprelay.mime.worker.frames import FACTS, FAILURE, TASK, FrameDecoder, FrameError, frame


class FrameTests(SynchronousTestCase):
    def test_however_they_are_cut(self):
        """Octet by octet, at once, or in between: the same frames."""
        sent = [(TASK, b'{"task": "a"}'), (FACTS, b""), (FAILURE, bytes(range(256)) * 10)]
        stream = b"".join(frame(kind, octets) for kind, octets in sent)
        for step in (1, 2, 5, 6, 7, 100, len(stream)):
            decoder = FrameDecoder()
            cut = [stream[at : at + step] for at in range(0, len(stream), step)]
            self.assertEqual([each for piece in cut for each in decoder.feed(piece)], sent, step)

    def test_garbage(self):
        """A kind that does not exist, or a length that no frame has, is an error at once."""
        for garbage in (b"hello", b"\x00" * 5, b"T\xff\xff\xff\xff", frame(b"x", b""), b"T\x00\x08\x00\x01"):
            with self.assertRaises(FrameError, msg=garbage):
                list(FrameDecoder().feed(garbage))

    def test_frames_before_garbage(self):
        """What was said before the garbage is heard."""
        heard = FrameDecoder().feed(frame(FACTS, b"") + b"?" * 9)
        self.assertEqual(next(heard), (FACTS, b""))
        self.assertRaises(FrameError, next, heard)
