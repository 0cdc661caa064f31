"""Entry of the `namesake` command."""

from __future__ import annotations

import signal


def main() -> None:
    """Run the command line."""
    # While modules are loaded ^C ends the process at once: as an exception it may be lost in a
    # callback of the import. The commands take it from there (`cli.link.reported`).
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    # Loaded here, so that the processes of a check, which load this module, do without it.
    from service.cli.app import app

    app()


if __name__ == "__main__":
    main()
