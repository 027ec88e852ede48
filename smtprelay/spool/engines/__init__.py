"""
The databases under a spool: SQLite, SQLite in memory, and PostgreSQL.

An engine gives transactions that write, in groups, and questions that read; it knows nothing of mail.
"""
