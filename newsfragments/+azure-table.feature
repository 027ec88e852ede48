The checker ``azure_table`` takes ``NAME@lookup``: a row of an Azure table names the application, and the sender of its mail. See ``docs/logins.rst``.
