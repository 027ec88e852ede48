``bare_newlines: accept`` serves clients in ``allow_from`` that end all their lines with LF alone; elsewhere each such line gets an answer.
