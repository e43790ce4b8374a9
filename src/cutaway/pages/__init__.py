"""What live pages and the frozen report share: templates, style, charts and filters. Knows no HTTP and no torch."""

from cutaway.pages.chart import chart_svg, spark_svg
from cutaway.pages.environment import asset, render
from cutaway.pages.shell import EPOCH, Crumb, Shell, Slider

__all__ = ["EPOCH", "Crumb", "Shell", "Slider", "asset", "chart_svg", "render", "spark_svg"]
