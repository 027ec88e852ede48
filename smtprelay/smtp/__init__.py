"""
Station 1: a client speaks SMTP to us.

Read it in the order of the bytes: :mod:`~smtprelay.smtp.session` cuts them into commands
(:mod:`~smtprelay.smtp.command`) and content (:mod:`~smtprelay.smtp.data`) and keeps their
order, without knowing of sockets; :mod:`~smtprelay.smtp.responder` asks the avatar that the
portal gave what to answer; :mod:`~smtprelay.smtp.protocol` is the loop between the two.
"""
