A mailbox or login whose mail is slow leaves a fifth of the provider's ``concurrency`` to the others.
