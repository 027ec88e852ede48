Addresses that no mail can be delivered to (``a..b@example.com``, ``a@[999.1.1.1]``, ``a@-x.example``) are refused at MAIL and RCPT; as a recipient ``a@10.0.0.7`` is, too.
