"""Reports: a run frozen into one HTML file. They know no torch."""

from cutaway.report.frozen import write_report
from cutaway.report.page import render, write_page

__all__ = ["render", "write_page", "write_report"]
