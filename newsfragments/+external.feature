Clients can log in by a certificate: ``tls.client_ca`` names the authorities, and the mechanism ``EXTERNAL`` takes the user whose name is in the certificate. Such a user needs no password.
