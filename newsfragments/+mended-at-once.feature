When a provider that could not be reached answers again, mail that waits for its next retry goes at once, also after a restart with a corrected host; the alarm lasts over the restart.
