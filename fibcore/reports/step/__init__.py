"""What a decode step and a prefill step of a served model launch, and what they take at least."""

from fibcore.reports.step.report import ModelSteps, Step, StepKernel, StepReport
from fibcore.reports.step.run import step

__all__ = ["ModelSteps", "Step", "StepKernel", "StepReport", "step"]
