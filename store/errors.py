"""The errors a person is meant to read. Everything else that is raised is a defect of ours."""


class MashbillError(Exception):
    """Something outside the program is wrong; the message says what, the value, and the mend.

    The command line prints the message alone and exits with ``exit_code``.
    """

    exit_code = 1


class UsageError(MashbillError):
    """The command or the recipe is wrong: an unknown field, a bad value, a missing path."""

    exit_code = 2


class FinalError(MashbillError):
    """No other try and no other unit of work would get through: it ends a build at once."""
