``tls.profile: legacy`` takes TLS 1.0 and 1.1 and RSA key exchange; a failed handshake is logged with the setting that would have taken the client.
