Synchronous listeners and the queue share rate, concurrency and blocked lanes of a provider; what a provider took for some recipients only goes on in the spool where the attempt left it.
