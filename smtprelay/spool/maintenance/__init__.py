"""What keeps a spool sound and small: retention, the check of its tables, and corrections of the clock."""
