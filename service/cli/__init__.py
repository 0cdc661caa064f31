"""The `namesake` command: an ordinary client of `namesake.v1`, and the way to start the server."""
