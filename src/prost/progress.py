"""How long work tells how far it is."""

from collections.abc import Callable

# Called with the number of items done, the number of items in all, and the name of the item done last ("" where
# items have no name).
Advance = Callable[[int, int, str], None]
