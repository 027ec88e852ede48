``dkim_table`` reads keys that sign mail from an Azure table, one row for each domain, ahead and again by a timer.
