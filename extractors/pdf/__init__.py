"""PDF: words to blocks in reading order, and everything around that."""
