"""A message on its way in: whether there is room for it, its pieces, and its acceptance."""
