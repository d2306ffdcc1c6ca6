"""Where `pulse-bridge`, and `python -m pulse_bridge`, begin."""

import sys


def main() -> None:
    """Load the command line and run it. Ctrl-C while it loads, which takes a moment, is no fault to be shown."""
    try:
        from pulse_bridge.cli import main as run  # noqa: PLC0415

        run()
    except KeyboardInterrupt:
        sys.exit(1)


if __name__ == "__main__":
    main()
