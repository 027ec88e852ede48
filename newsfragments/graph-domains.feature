``remap`` of Microsoft Graph has the mail of some senders sent by their domain's ``fallback`` in any case. ``domain_table`` reads that, and
who is told of failures, from rows of an Azure table.
