``client_certificate`` and ``client_key`` of a provider are for a server that asks the relay for a certificate.
