"""
Forgetting: what is finished is kept for a while, then dropped in small steps.

Small, so that a sweep after a long time never holds up the mail that comes in between.
"""

from smtprelay.spool.connection import Transaction


def sweep(tx: Transaction, before: float, limit: int) -> int:
    """Drop up to ``limit`` messages that were finished before ``before``; return how many."""
    gone = tx.execute(
        "SELECT id FROM message WHERE finished < ? ORDER BY finished LIMIT ?", (before, limit)
    ).fetchall()
    for row in gone:
        tx.execute("DELETE FROM message WHERE id = ?", row)
        for table in ("chunk", "delivery", "recipient", "attempt", "credential"):
            tx.execute(f"DELETE FROM {table} WHERE message = ?", row)  # noqa: S608 -- constants
    return len(gone)
