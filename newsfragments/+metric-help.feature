The help of each metric says what it counts, and what to do when it is high.
