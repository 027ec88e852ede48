Where a certificate is not trusted the error names the setting that would let it in: ``ca``, or ``vault.ca``.
