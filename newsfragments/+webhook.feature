``on_failed: webhook`` and ``on_expired: webhook`` post a signed JSON event to the URL under ``webhook``.
