"""Exemplars: the real patches that excite a unit most, found in one streaming pass for all units at once."""

from cutaway.lenses.exemplars.replay import Replay, replay, score
from cutaway.lenses.exemplars.scan import Scan
from cutaway.lenses.exemplars.survey import Box, Surveyed, survey
from cutaway.lenses.exemplars.tables import Sample, Table, Tables

__all__ = ["Box", "Replay", "Sample", "Scan", "Surveyed", "Table", "Tables", "replay", "score", "survey"]
