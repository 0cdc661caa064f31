"""Entry of the `namesake` command."""

from __future__ import annotations

from service.cli import app


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
