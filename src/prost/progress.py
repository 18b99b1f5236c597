"""The type of the callbacks by which long work reports its progress."""

from collections.abc import Callable

# Called with the number of items done, the number of items in all, and the name of the last item ("" where items have
# no name).
Advance = Callable[[int, int, str], None]
