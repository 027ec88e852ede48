Secrets may be in Azure Key Vault (``{key_vault: URL}``), and so may the certificate of a listener; both are read again every 15 minutes. See ``docs/entra.rst``.
