"""
Station 3: the message is on disk before we say 250.

The promise, in words:

- What a coroutine of the spool has returned is committed and synced. Several
  callers share one commit (``writer``), nobody waits for a timer.
- A claim is an intent: the attempt's row is durable before anything is sent. What
  has an intent and no outcome when its node dies comes back as ``uncertain``; nothing else does.
- The operations (``accept``, ``claim``, ``settle``, ``move``, ``edit``, ``query``, ``history``, ``export``,
  ``imports``, ``check``) are plain
  synchronous functions on a transaction. The engine's thread and the CLI, when no
  daemon runs, call the same ones.

An engine (``sqlite``, ``memory``) only says how a connection is opened and on
which thread the operations run; ``store`` is the spool that the others see.
"""
