"""Bytes to documents: containers are opened, formats recognised by content, one format family a folder."""
