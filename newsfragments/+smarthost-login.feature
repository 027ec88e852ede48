A smarthost is logged in to by a certain ``mechanism``, or with tokens of Microsoft Entra, Google or another service (``oauth``, XOAUTH2).
