"""The rain simulator: streaks and drops, by day and by night. Entry: `derain.rain.simulate.simulate`."""
