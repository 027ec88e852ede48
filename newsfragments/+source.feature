The page shows the source of a stored message and downloads it as ``.eml``; the demo's captured mail has the id of its 250, marks what was not opened yet, and can be deleted.
