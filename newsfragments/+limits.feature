EHLO says how many recipients a message may have (``LIMITS RCPTMAX``, RFC 9422).
