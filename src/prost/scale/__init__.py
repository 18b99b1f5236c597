"""The same library on many machines, by Ray (extra `ray`)."""
