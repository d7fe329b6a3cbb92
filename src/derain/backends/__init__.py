"""Models of others behind interfaces: loaded, batched and identified here, with no knowledge of what they are for."""
