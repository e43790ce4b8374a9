"""Seeded faults: trainings with one planted mistake each, and healthy ones, for measuring the doctor."""
