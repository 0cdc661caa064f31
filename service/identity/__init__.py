"""The use cases: saving, finding, resolving and deleting customers, and settling verdicts."""
