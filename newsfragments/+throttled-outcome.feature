An attempt that the provider answers with "too many requests" is ``throttled`` in ``queue show``, no longer ``deferred``; at synchronous listeners its client reads ``451 4.3.2``.
