"""Alerts: a subscriber that tells people what happened to their training, once."""
