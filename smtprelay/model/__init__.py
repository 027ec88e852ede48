"""The values that pass between stations, and what every station may do with them. Nothing here waits."""
