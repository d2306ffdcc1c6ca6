"""Puts PULSE status files of training jobs on message buses.

The data goes one way: watch, track, journal, relay, bus, subscriber. `sidecar.py` joins them.
"""

__version__ = "0.1.0"
