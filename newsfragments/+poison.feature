A mail at which the relay died three times in a row is held, and the relay goes on.
