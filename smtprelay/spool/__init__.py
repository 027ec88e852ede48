"""
Station 3: the message is on disk before we say 250.

The promise, in words:

- What a coroutine of the spool has returned is committed and synced. Several callers share one commit
  (``engines.writer``) without waiting for a timer.
- A claim is an intent: the attempt's row is durable before anything is sent. What
  has an intent and no outcome when its node dies comes back as ``uncertain``; nothing else does.
- The ``operations`` are plain synchronous functions on a transaction. The engine's thread and the
  command line, when no relay runs, call the same ones.

``spool`` is the mail's way, and hands out the other parts: ``queue_admin``, ``archive``, ``maintenance``.
``receive`` takes a message in, ``query`` reads. One of the ``engines`` says how a connection is opened and
on which thread operations run.
"""
