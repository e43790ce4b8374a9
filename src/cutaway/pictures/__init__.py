"""Pictures: arrays to RGB, with numbers on every scale. They know no torch."""

from cutaway.pictures.colours import Scale, to_rgb
from cutaway.pictures.curves import Curves, Series, read_curves
from cutaway.pictures.figure import curves_figure
from cutaway.pictures.grids import channel_grid, image_grid, kernel_grid, network_figure
from cutaway.pictures.mosaic import Layout, Mosaic, mosaic
from cutaway.pictures.picture import Picture
from cutaway.pictures.snapshot import snapshot_pictures, snapshot_scales

__all__ = [
    "Curves",
    "Layout",
    "Mosaic",
    "Picture",
    "Scale",
    "Series",
    "channel_grid",
    "curves_figure",
    "image_grid",
    "kernel_grid",
    "mosaic",
    "network_figure",
    "read_curves",
    "snapshot_pictures",
    "snapshot_scales",
    "to_rgb",
]
