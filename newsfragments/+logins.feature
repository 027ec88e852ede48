The checker ``any`` takes every login from clients in ``allow_from``, beside ``users`` on one listener. ``AUTH PLAIN`` ignores the authorization identity, and Base64 may be without padding.
