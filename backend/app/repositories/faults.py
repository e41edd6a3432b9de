"""What is wrong with the surroundings of the program, not with a request: the command line's exit code 3."""


class EnvironmentFault(Exception):
    """Something outside the program is missing or broken; the message tells the operator what to do."""


class EmbeddedPostgresError(EnvironmentFault):
    """The embedded PostgreSQL cannot run; the message says why and where its log is."""


class DatabaseUnavailable(EnvironmentFault):
    """The database does not answer."""


class DatabaseUnsuitable(EnvironmentFault):
    """The database answers but cannot carry Hakem: too old, or a role or a right is missing."""
