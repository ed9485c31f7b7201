"""Reads the certificates of a dataset, and says in short what each one says."""

from __future__ import annotations

from collections import Counter
from pathlib import Path

import attrs

from fibcore.benchmarking.certificates.certificate import FOLDER, Certificate
from fibcore.benchmarking.certificates.choosing import Tolerance
from fibcore.dataset import BrokenFileError
from fibcore.dataset.files import read_text
from fibcore.errors import DatasetError
from fibcore.model.definition import Definition
from fibcore.model.json import decode, from_data
from fibcore.regular_files import MAX_LINES_BYTES

CERTIFIED, NOT_CERTIFIED, OUTDATED = "certified", "not certified", "outdated"


@attrs.frozen
class CertificateSummary:
    """What a certificate says, in numbers.

    An implementation counts once for each workload that it was tried on.

    Attributes:
        definition: The definition.
        state: "certified", "not certified", or "outdated": of another reference than the present.
        tolerance: That of all workloads; None where there is none.
        tried: Workloads that were tried.
        not_tried: Workloads that were not.
        right: Implementations that have to be accepted.
        accepted: Those of them that the workload's tolerance accepts.
        wrong: Implementations that have to be rejected.
        rejected: Those of them that the workload's tolerance rejects.
        same: Wrong ones whose mistake their workload does not show.
        slipped: Wrong ones that pass at the tolerance of all workloads and fail on another one.
        reasons: Why it is not certified.
        device: Where it was tried; "" where no workload was.
    """

    definition: str
    state: str
    tolerance: Tolerance | None
    tried: int
    not_tried: int
    right: int
    accepted: int
    wrong: int
    rejected: int
    same: int
    slipped: int
    reasons: tuple[str, ...]
    device: str

    @classmethod
    def of(cls, certificate: Certificate, definition: Definition) -> CertificateSummary:
        """The summary of a certificate, for the definition as it is now."""
        state = CERTIFIED if certificate.certified else NOT_CERTIFIED
        if certificate.reference_sha256 != definition.reference_hash:
            state = OUTDATED
        tried = [one for on in certificate.workloads for one in on.tried]
        right = Counter(one.verdict for one in tried if one.right)
        wrong = Counter(one.verdict for one in tried if not one.right)
        return cls(
            definition=definition.name,
            state=state,
            tolerance=certificate.tolerance,
            tried=len(certificate.workloads),
            not_tried=len(certificate.not_tried),
            right=right.total(),
            accepted=right["accepted"],
            wrong=wrong.total(),
            rejected=wrong["rejected"],
            same=wrong["same"],
            slipped=sum(len(uuids) for uuids in certificate.slips.values()),
            reasons=certificate.reasons,
            device=certificate.machine.get("device", ""),
        )


def read_certificate(root: Path, definition: Definition) -> Certificate | None:
    """The certificate of a definition, also one of an earlier reference; None where there is none.

    Args:
        root: The dataset's folder.
        definition: The definition.

    Raises:
        DatasetError: the file cannot be read, or holds no certificate of this definition.
    """
    path = f"{FOLDER}/{definition.name}.json"
    file = root / path
    if not file.exists():
        return None
    hint = "fibcore certify writes it anew"
    try:
        data = decode(read_text(root, file, MAX_LINES_BYTES))
    except ValueError as error:
        raise BrokenFileError("not JSON", path=path, found=str(error), hint=hint) from None
    found = from_data(Certificate, data, where=f"{path} $", error=DatasetError)
    if found.definition != definition.name:
        raise BrokenFileError(
            "a certificate of another definition",
            path=path,
            expected=definition.name,
            found=found.definition,
            hint=hint,
        )
    return found
