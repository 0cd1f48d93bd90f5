"""Personal data: what it looks like (checks, patterns by language, names) and how it is replaced (spans)."""
