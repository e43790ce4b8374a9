"""Care for data before it is trained on: audits of data sets, and faces cut out of photographs."""

from cutaway.care.audit import Audit, audit

__all__ = ["Audit", "audit"]
