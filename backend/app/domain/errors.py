"""Expected refusals. Each names an API code and an HTTP status; a bug is an assertion, never one of these."""

from typing import ClassVar


class AppError(Exception):
    """A refusal that the caller is told about. Subclasses stand beside the code that raises them.

    `detail` is one sentence for a person; `extras` become members of the problem document. `is_replay`: the same
    refusal was given before to the same key, and this is it again.
    """

    error_code: ClassVar[str]
    status: ClassVar[int]
    title: ClassVar[str]

    def __init__(self, detail: str = "", *, is_replay: bool = False, **extras: object) -> None:
        super().__init__(detail or self.title)
        self.detail = detail or self.title
        self.is_replay = is_replay
        self.extras = extras


class FieldError(AppError):
    """422: the request is understood and one of its fields is not acceptable."""

    error_code = "VALIDATION_ERROR"
    status = 422
    title = "The request is not valid"

    def __init__(self, field: str, message: str) -> None:
        super().__init__(f"{field}: {message}", errors=[{"field": field, "message": message}])


class NotFound(AppError):
    """404: no such object, or not one of this tenant's."""

    error_code = "NOT_FOUND"
    status = 404
    title = "Not found"


class TemporarilyUnavailable(AppError):
    """503: nothing is known to have happened; the same request with the same key finds out."""

    error_code = "TEMPORARILY_UNAVAILABLE"
    status = 503
    title = "The service is temporarily unavailable"
