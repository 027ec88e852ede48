A smarthost may want a certificate from the relay (``client_certificate``), a certain ``mechanism``, or tokens of Microsoft Entra, Google or another service (``oauth``, XOAUTH2).
