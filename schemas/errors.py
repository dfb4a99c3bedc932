"""Errors, named by what the caller must do.

CuveeError
├── RecipeError      the recipe or the call is wrong; nothing ran                     exit 2
├── InputError       this file or row is set aside; the run goes on within its limit  exit 1
├── RetryableError   a fault that may pass; try again                                 exit 1
├── ConflictError    somebody else published first; read again and redo               exit 1
├── IntegrityError   stored bytes are missing or not what the manifest says           exit 1
└── GateError        a person must act; nothing was published                         exit 3

Every message says what is wrong, where, and what to do next.
"""


class CuveeError(Exception):
    """The common base; `exit_code` is what the command line ends with."""

    exit_code = 1


class RecipeError(CuveeError):
    """The recipe, an option or a reference is wrong; nothing ran."""

    exit_code = 2


class InputError(CuveeError):
    """An input cannot be read; the message names file and line or row.

    rows: how many rows are lost with it, at least 1; a file that cannot be opened does not tell, and counts as one.
    """

    rows = 1


class RetryableError(CuveeError):
    """A passing fault of a service or a store; the same call may work later."""


class ConflictError(CuveeError):
    """Another run published the same version first."""


class IntegrityError(CuveeError):
    """A stored file is missing, or its bytes are not those that were recorded."""


class GateError(CuveeError):
    """The run stopped at a gate (shortage, guard, review) and published nothing."""

    exit_code = 3
