"""Rows and tables: JSON, JSONL, CSV, Parquet."""
