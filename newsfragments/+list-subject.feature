``queue list`` shows the subject and fits a terminal of 80 columns; ``status`` names the oldest message.
