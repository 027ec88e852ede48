"""The SQL of rows that several operations read and write: lanes, hold rules and deliveries."""
