"""The public API of Namesake: `namesake.v1` holds its messages, clients and services."""
