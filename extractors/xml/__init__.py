"""XML, by families."""
