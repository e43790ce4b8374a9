"""The pictures room."""
