An attempt that the provider answers with "too many requests" is ``throttled`` in ``queue show``, no longer ``deferred``.
