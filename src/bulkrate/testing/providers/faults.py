"""What can be made to go wrong at a double, and what it allows."""

from __future__ import annotations

import msgspec


class Faults(msgspec.Struct, kw_only=True, forbid_unknown_fields=True):
    """Set all at once by `POST /double/faults`; what is not named is as good as new.

    Numbers of calls count down to nothing and go on with health; -1 is for ever. The faults of jobs are
    taken by each job as it is created, by `jobs` of them.
    """

    # Calls

    #: All calls are answered with 503.
    down: bool = False
    #: Calls that do their work, and then the connection closes without an answer.
    lose_create: int = 0
    lose_upload: int = 0
    lose_cancel: int = 0
    #: Uploads that turn out to be broken once they have come. Azure and Gemini look at files.
    break_upload: int = 0
    #: Calls that are answered with 500.
    fail_create: int = 0
    fail_look: int = 0
    fail_list: int = 0
    fail_results: int = 0
    #: Creations that are refused because the quota is full.
    quota_full: int = 0
    #: The account is over its limit: nothing is created.
    broke: bool = False
    #: A quota of tokens (four letters each) that may be in jobs that have not ended; None is no limit.
    enqueued_tokens_max: int | None = None
    #: Files, or bodies with the lines in them, of more bytes are refused; None is the vendor's own limit.
    bytes_max: int | None = None
    #: Creations in an hour of the virtual clock; None is no limit.
    creates_per_hour: int | None = None
    #: Downloads that end in the middle of a line: as broken connections, or as if that were all.
    truncate: int = 0
    truncate_quietly: int = 0
    #: All files are gone.
    files_expired: bool = False
    #: The models there are; None is any.
    models: list[str] | None = None

    # Jobs

    #: How many jobs take the following; None is all.
    jobs: int | None = None
    #: Seconds of the virtual clock until a job runs, and until it ends.
    validating_s: float = 0.0
    slow_s: float = 0.0
    #: So many lines run, then time is up.
    expire_after: int | None = None
    #: So many lines run, then somebody else cancels it.
    cancel_after: int | None = None
    #: Lines that validation refuses, by number from 1. One is enough to fail a job of those who validate.
    invalid_lines: list[int] = []
    #: Validation fails, for a reason of no line's.
    invalid: bool = False
    #: The job fails for a reason of the provider's own, which it does not tell.
    fail_job: bool = False
    #: The quota is found to be full only after creation: the job fails. As OpenAI does.
    quota_full_late: bool = False
    #: The same of an account that is over its limit. OpenAI's wire alone.
    broke_late: bool = False
    #: HTTP status of lines that fail, by number from 1.
    line_status: dict[int, int] = {}
    #: Results, by number of the line from 1: those that come twice, and those that do not come though they
    #: ran.
    doubled_lines: list[int] = []
    missing_lines: list[int] = []
    #: Results come in another order than the lines.
    shuffled: bool = False
    #: What is not there has the id "" instead of null, and an error file of no bytes is there always. As
    #: Azure.
    empty_ids: bool = False

    def spend(self, name: str) -> bool:
        """Whether a counted fault happens now; it is counted down."""
        left: int = getattr(self, name)
        if left > 0:
            setattr(self, name, left - 1)
        return left != 0

    def for_a_job(self) -> Faults:
        """The faults of the job that is created now."""
        if self.jobs == 0:
            return Faults()
        if self.jobs is not None:
            self.jobs -= 1
        return msgspec.structs.replace(self)
