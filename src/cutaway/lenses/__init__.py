"""The lenses room."""
