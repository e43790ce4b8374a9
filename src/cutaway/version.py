"""The version, on the ground: whatever writes a record says which version did."""

__version__ = "0.1.0"
