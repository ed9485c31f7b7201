"""What a decode step and a prefill step of a served model launch, and what they take at least."""

from fibcore.reports.step.report import StepReport
from fibcore.reports.step.run import step
from fibcore.reports.steps import ModelSteps, Step, StepKernel

__all__ = ["ModelSteps", "Step", "StepKernel", "StepReport", "step"]
