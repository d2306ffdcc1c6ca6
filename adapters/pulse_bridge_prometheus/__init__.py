"""A subscriber that shows every job to Prometheus."""
