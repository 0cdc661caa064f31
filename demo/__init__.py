"""The demo and its people."""
