"""Coverage-guided fuzzing of what reads a mail; ``make fuzz`` runs it, within a time of its own."""
