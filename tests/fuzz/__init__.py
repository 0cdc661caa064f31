"""Fuzzing of the compiled parsers, and what it found worth keeping."""
