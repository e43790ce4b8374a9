"""The atlas: what is known of every unit, made ahead of time and kept on disk."""

from cutaway.scope.atlas.make import atlas_folder, make_atlas

__all__ = ["atlas_folder", "make_atlas"]
