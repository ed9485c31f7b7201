"""A model from nothing to pull requests, and what a release brings that a dataset does not have."""

from fibcore.onboarding.manifest import Manifest
from fibcore.onboarding.run import OnboardReport, onboard
from fibcore.onboarding.tracking import TrackReport, track

__all__ = ["Manifest", "OnboardReport", "TrackReport", "onboard", "track"]
