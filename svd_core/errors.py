"""The one exception the core raises for things a user can mend."""


class SVDError(ValueError):
    """A user-facing problem: one sentence naming the thing, what is wrong with it and what to do."""
