A mail of which the relay dies is tried alone after the next start, and held as ``crash_loop`` at the second death while it was alone; ``status`` names it, and mail that was only near is never held.
