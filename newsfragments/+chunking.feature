Listeners offer CHUNKING: a message may come in chunks (``BDAT``), as Exchange and Exim send it.
