"""What is the matter with a deployment: ``feast-rs doctor``; see docs/doctor.md."""

from feast_rs.diagnosis.examination import diagnose, examine
from feast_rs.diagnosis.findings import Diagnosis, Finding, Findings

__all__ = ["Diagnosis", "Finding", "Findings", "diagnose", "examine"]
