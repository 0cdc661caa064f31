"""The core's compiled modules against what they replace."""
