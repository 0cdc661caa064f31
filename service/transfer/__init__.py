"""Files in and out: rows of CSV and JSONL, and which column is which field."""
