"""Documents in, fewer and cleaner documents out: one concern a file, each a stage or what a stage is made of."""
