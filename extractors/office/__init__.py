"""Office files and e-books."""
