The relay and its commands start faster: no garbage is looked for while they are imported.
