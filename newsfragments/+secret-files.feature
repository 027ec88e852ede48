A byte order mark, quotes and newlines around a secret in a file or variable are removed, with a warning; a file with a secret that every user of the machine can read is a warning, too.
