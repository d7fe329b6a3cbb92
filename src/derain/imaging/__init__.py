"""Pictures in and out, colour, tiling and quality measures."""
