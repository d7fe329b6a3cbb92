"""Training: settings, simulated and paired sources, strategies, the loop and what it writes."""
