"""`python -m pulse_bridge` is `pulse-bridge`."""

from pulse_bridge.cli import main

main()
