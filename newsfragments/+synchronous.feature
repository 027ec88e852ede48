A listener with ``delivery: synchronous`` answers its client with the provider's verdict and stores nothing; with only such listeners the relay needs no spool.
